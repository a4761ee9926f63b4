"""A batch of sends, decided without a database: first outcomes, one number each, and nothing told too early."""

import itertools
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actors.mailbox import Envelope
from actors.recent import KEPT, RecentSends
from actors.sending import Known, SendBatch, Told, outcome_of
from actors.shapes.conversations import ConversationState, Member, Origin, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ClientId, ConversationId, MessageId, SocketId, UserId
from actors.shapes.messages import MessageSent
from actors.shapes.times import WallTime
from actors.shapes.users import Deliver
from tests.actors.small_node import Answer

ANN, BOB, EVE = UserId("ann"), UserId("bob"), UserId("eve")
NOW = WallTime(1_795_000_000_000)
EMPTY = ConversationState(
    ConversationId("talk"), "direct", "standard", 0, 1, {u: Member(u, f"{u}'s name", "member", 1) for u in (ANN, BOB)}
)
UNAVAILABLE = KithError(ErrorCode.UNAVAILABLE)


def send(id: str, text: str = "x", sender: UserId = ANN, **more: Any) -> SendMessage:
    return SendMessage(sender, ClientId(id), text, **more)


class Round:
    """One batch, decided."""

    def __init__(
        self,
        *commands: SendMessage,
        recent: RecentSends | None = None,
        known: Known | None = None,
        state: ConversationState | None = EMPTY,
    ) -> None:
        numbers = itertools.count(1)
        self.recent = recent or RecentSends()
        self.answers = [Answer() for _ in commands]
        self.envelopes: list[Envelope[Any]] = [Envelope(c, a) for c, a in zip(commands, self.answers, strict=True)]
        self.told: list[Deliver] = []
        self.batch = SendBatch(state, self.recent, Told(known or {}))
        self.batch.decide(self.envelopes, NOW, lambda: MessageId(f"m{next(numbers)}"))

    def _tell(self, deliver: Deliver, _members: Iterable[UserId] | None = None, /) -> None:
        self.told.append(deliver)

    def publish(self) -> "Round":
        self.batch.publish(self.envelopes, self._tell)
        return self


def test_a_decision_tells_and_remembers_nothing() -> None:
    decided = Round(send("1"), send("1"), send("2", sender=EVE))
    assert [answer.told for answer in decided.answers] == [[], [], []]
    assert decided.recent.find((ANN, ClientId("1"))) is None
    assert decided.batch.after != EMPTY
    assert [m.rev for m in decided.batch.messages] == [2]


def test_published_each_asker_hears_one_thing_and_members_each_message_once() -> None:
    done = Round(send("1"), send("1"), send("1", "y"), send("2", sender=EVE), send("3", sender=BOB)).publish()
    first, repeat, conflict, stranger, bob = [answer.only for answer in done.answers]
    assert (first.seq, first.rev, first.duplicate) == (1, 2, False)
    assert repeat == MessageSent(first.message_id, 1, 2, first.created_at, duplicate=True)
    assert (conflict.code, stranger.code) == (ErrorCode.IDEMPOTENCY_CONFLICT, ErrorCode.CONVERSATION_NOT_FOUND)
    assert (bob.seq, bob.rev) == (2, 3)
    assert [(d.seq, d.sender, d.origin, d.ok) for d in done.told] == [(1, ANN, None, None), (2, BOB, None, None)]


def test_the_ok_of_a_connection_travels_with_its_event() -> None:
    done = Round(send("1", origin=Origin(SocketId(7), "r", 2.5)), send("2", origin=Origin(SocketId(7), None, 2.5)))
    done.publish()
    with_ref, without = done.told
    assert with_ref.ok is not None
    assert b'"ref":"r"' in with_ref.ok.payload
    assert b'"ok"' in with_ref.ok.payload
    assert (with_ref.origin, with_ref.frame.born, without.origin, without.ok) == (7, 2.5, 7, None)
    assert [answer.told for answer in done.answers] == [[], []]
    assert all(envelope.settled for envelope in done.envelopes)  # so a crash behind this decides nothing twice


def test_only_refusals_the_database_might_overrule_are_in_doubt() -> None:
    recent = Round(send("used")).publish().recent
    decided = Round(
        send("used"),
        send("used", "other"),
        send("stranger", sender=EVE),
        send("stranger", sender=EVE),
        send("late", after=ClientId("lost")),
        send("fine"),
        recent=recent,
        known={(ANN, ClientId("lost")): (MessageSent(MessageId("m"), 9, 9, "", duplicate=True), "x")},
    )
    assert decided.batch.in_doubt() == [(EVE, "stranger")]
    assert Round(send("late", after=ClientId("lost"))).batch.in_doubt() == [(ANN, "late"), (ANN, "lost")]


def test_what_the_database_has_been_asked_about_is_in_doubt_no_more() -> None:
    """Otherwise a refused send whose `after` is stored would be looked up, found and decided again without end."""
    known: Known = {(EVE, ClientId("lost")): (MessageSent(MessageId("m"), 9, 9, "", duplicate=True), "x")}
    decided = Round(send("1", sender=EVE, after=ClientId("lost")), known=known)
    assert decided.batch.in_doubt() == [(EVE, "1")]


def test_what_the_database_knows_is_the_first_outcome_whoever_may_write_now() -> None:
    sent = MessageSent(MessageId("old"), 4, 5, "then", duplicate=True)
    done = Round(send("1", sender=EVE), send("1", "y", sender=EVE), known={(EVE, ClientId("1")): (sent, "x")})
    done.batch.answer_without_rows(done.envelopes)
    assert done.answers[0].only == sent
    assert done.answers[1].only.code is ErrorCode.IDEMPOTENCY_CONFLICT


def test_a_refused_unit_takes_back_its_rows_and_nothing_else() -> None:
    recent = Round(send("old")).publish().recent
    done = Round(send("new"), send("new"), send("new", "y"), send("old"), send("s", sender=EVE), recent=recent)
    done.batch.withdraw(done.envelopes, UNAVAILABLE)
    codes = [getattr(answer.only, "code", "repeat") for answer in done.answers]
    # The conflict is one with a message that is not on disk: nobody can say yet.
    assert codes == ["UNAVAILABLE", "UNAVAILABLE", "UNAVAILABLE", "repeat", "CONVERSATION_NOT_FOUND"]
    assert recent.find((ANN, ClientId("new"))) is None


def test_memory_of_sends_is_bounded_and_forgets_the_oldest() -> None:
    recent = Round(*[send(f"{n}") for n in range(KEPT + 5)]).publish().recent
    found = [recent.find((ANN, ClientId(f"{n}"))) is not None for n in range(KEPT + 5)]
    assert found == [False] * 5 + [True] * KEPT


def test_an_outcome_is_what_is_stored() -> None:
    (message,) = Round(send("1")).batch.messages
    assert outcome_of(message) == MessageSent(MessageId("m1"), 1, 2, "2026-11-18T11:06:40.000Z", duplicate=False)


people = st.sampled_from([ANN, BOB, EVE])
sends = st.builds(send, st.sampled_from("abcd"), st.sampled_from(["x", "y"]), people)


@given(st.lists(sends, max_size=12), st.lists(sends, max_size=12))
def test_whatever_comes_each_id_has_one_message_and_each_asker_one_outcome(
    first: list[SendMessage], second: list[SendMessage]
) -> None:
    one = Round(*first).publish()
    two = Round(*second, recent=one.recent, state=one.batch.after).publish()
    messages = [*one.batch.messages, *two.batch.messages]
    assert [m.seq for m in messages] == list(range(1, len(messages) + 1))
    assert [m.rev for m in messages] == list(range(2, len(messages) + 2))
    by_id = {(m.sender_id, m.client_id): m for m in messages}
    assert len(by_id) == len(messages)
    assert len(one.told) + len(two.told) == len(messages)
    fresh = 0
    for done in (one, two):
        for envelope, answer in zip(done.envelopes, done.answers, strict=True):
            command = envelope.command
            stored = by_id.get((command.sender, command.client_id))
            if command.sender == EVE:
                assert answer.only.code is ErrorCode.CONVERSATION_NOT_FOUND
                continue
            assert stored is not None
            if stored.text != command.text:
                assert answer.only.code is ErrorCode.IDEMPOTENCY_CONFLICT
            else:
                assert (answer.only.message_id, answer.only.seq) == (stored.id, stored.seq)
                fresh += not answer.only.duplicate
    assert fresh == len(messages)
