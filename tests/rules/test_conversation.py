"""What a conversation decides: who reads, who writes, and what a message becomes; no clock, no database."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from actors.rules.conversation import access, blocked, decide_delete, decide_send, not_found
from actors.shapes.conversations import ConversationState, DeleteMessage, Member, SendMessage
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import DeletedMessage, MessageDeleted, MessageFacts, StoredMessage
from actors.shapes.times import WallTime

ANN, BOB, EVE = (UserId(f"0190aaaa-0000-7000-8000-00000000000{n}") for n in range(3))
TALK = ConversationId("0190bbbb-0000-7000-8000-000000000001")
NEW = MessageId("0190cccc-0000-7000-8000-000000000001")
CLIENT = ClientId("0190dddd-0000-7000-8000-000000000001")
NOW = WallTime(1_795_000_000_000)


def state_of(**changes: Any) -> ConversationState:
    members = {user: Member(user, "name", "member", 1) for user in (ANN, BOB)}
    return structs.replace(ConversationState(TALK, "direct", "standard", 7, 11, members), **changes)


def send(sender: UserId = ANN, **more: Any) -> SendMessage:
    return SendMessage(sender, CLIENT, "hello", **more)


def test_a_message_takes_the_next_number_and_the_next_revision() -> None:
    before = state_of()
    decided = decide_send(before, send(mentions=(BOB,), reply_to=NEW), NOW, NEW)
    assert not isinstance(decided, KithError)
    after, message = decided
    assert message == StoredMessage(NEW, TALK, 8, 12, ANN, CLIENT, "hello", NOW, (BOB,), NEW)
    assert after == state_of(seq=8, rev=12)
    assert before == state_of()  # a decision that is not committed must leave no trace


BY_ANN, BY_BOB = (ANN, BOB), (BOB, ANN)


@pytest.mark.parametrize(
    ("state", "command", "code", "details"),
    [
        (None, send(), ErrorCode.CONVERSATION_NOT_FOUND, {}),
        (state_of(), send(EVE), ErrorCode.CONVERSATION_NOT_FOUND, {}),
        (state_of(blocks=frozenset({BY_ANN})), send(EVE), ErrorCode.CONVERSATION_NOT_FOUND, {}),
        (state_of(blocks=frozenset({BY_ANN})), send(ANN), ErrorCode.USER_BLOCKED, {"by": "me"}),
        (state_of(blocks=frozenset({BY_ANN})), send(BOB), ErrorCode.USER_BLOCKED, {}),
        (state_of(blocks=frozenset({BY_BOB})), send(ANN), ErrorCode.USER_BLOCKED, {}),
        (state_of(blocks=frozenset({BY_BOB})), send(BOB), ErrorCode.USER_BLOCKED, {"by": "me"}),
        (state_of(blocks=frozenset({BY_ANN, BY_BOB})), send(ANN), ErrorCode.USER_BLOCKED, {"by": "me"}),
        (state_of(blocks=frozenset({BY_ANN, BY_BOB})), send(BOB), ErrorCode.USER_BLOCKED, {"by": "me"}),
        (state_of(privacy_mode="strict_e2e"), send(), ErrorCode.INVALID_PAYLOAD, {"field": "text"}),
        (state_of(), send(mentions=(BOB, EVE)), ErrorCode.INVALID_PAYLOAD, {"field": "mentions", "value": EVE}),
    ],
)
def test_what_is_refused(
    state: ConversationState | None, command: SendMessage, code: ErrorCode, details: dict[str, str]
) -> None:
    refusal = decide_send(state, command, NOW, NEW)
    assert isinstance(refusal, KithError)
    assert (refusal.code, refusal.details, refusal.outcome) == (code, details, "none")


def test_to_a_stranger_nothing_says_whether_there_is_a_conversation() -> None:
    absent, foreign = access(None, EVE), access(state_of(), EVE)
    assert isinstance(absent, KithError)
    assert isinstance(foreign, KithError)
    assert vars(absent) == vars(foreign) == vars(not_found())
    assert absent.args == foreign.args


def test_a_member_is_let_in_as_himself() -> None:
    state = state_of()
    assert access(state, BOB) == (state, state.members[BOB])


@given(st.sets(st.sampled_from([BY_ANN, BY_BOB])), st.sampled_from([ANN, BOB]))
def test_a_block_stands_in_both_directions(blocks: set[tuple[UserId, UserId]], sender: UserId) -> None:
    by = blocked(state_of(blocks=frozenset(blocks)), sender)
    assert (by is None) == (not blocks)
    assert (by == "me") == any(blocker == sender for blocker, _ in blocks)


@given(st.lists(st.tuples(st.sampled_from([ANN, BOB, EVE]), st.booleans()), max_size=30))
def test_whatever_comes_numbers_have_no_gap_and_refusals_change_nothing(sends: list[tuple[UserId, bool]]) -> None:
    state, stored = state_of(), []
    for sender, mentions_a_stranger in sends:
        decided = decide_send(state, send(sender, mentions=(EVE,) if mentions_a_stranger else ()), NOW, NEW)
        if isinstance(decided, KithError):
            assert sender == EVE or mentions_a_stranger
            continue
        state, message = decided
        stored.append(message)
    assert [m.seq for m in stored] == list(range(8, 8 + len(stored)))
    assert [m.rev for m in stored] == list(range(12, 12 + len(stored)))
    assert (state.seq, state.rev) == (7 + len(stored), 11 + len(stored))
    assert state.members == state_of().members


# -- deleting ---------------------------------------------------------------------------------------------------------

OLD = MessageFacts(NEW, 3, 5, 5, BOB, deleted=False)  # of Bob's, at revision 5
LATE = 6  # who joined here never saw it


def group(role: str, joined_rev: int = 1) -> ConversationState:
    """Ann in this role, Bob a member."""
    members = {ANN: Member(ANN, "ann", role, joined_rev), BOB: Member(BOB, "bob", "member", LATE)}
    return state_of(type="group", members=members)


DELETES = [
    # (who, as an admin of the platform, Ann's role, she joined at, the message, what comes of it)
    (BOB, False, "member", 1, OLD, "deleted"),  # his own, although he came back later
    (ANN, False, "member", 1, OLD, ErrorCode.FORBIDDEN),
    (ANN, False, "admin", 1, OLD, "deleted"),
    (ANN, False, "owner", 5, OLD, "deleted"),
    (ANN, False, "owner", LATE, OLD, ErrorCode.MESSAGE_NOT_FOUND),
    (ANN, False, "owner", 1, None, ErrorCode.MESSAGE_NOT_FOUND),
    (EVE, False, "member", 1, OLD, ErrorCode.CONVERSATION_NOT_FOUND),
    (EVE, False, "member", 1, None, ErrorCode.CONVERSATION_NOT_FOUND),
    (EVE, True, "member", 1, OLD, "deleted"),
    (EVE, True, "member", 1, None, ErrorCode.MESSAGE_NOT_FOUND),
]


@pytest.mark.parametrize(("who", "as_admin", "role", "joined", "facts", "outcome"), DELETES)
def test_who_may_delete(
    who: UserId, as_admin: bool, role: str, joined: int, facts: MessageFacts | None, outcome: str
) -> None:
    state = group(role, joined)
    decided = decide_delete(state, DeleteMessage(who, NEW, as_admin=as_admin), facts, NOW)
    if outcome != "deleted":
        assert isinstance(decided, KithError)
        assert decided.code == outcome
        return
    assert decided == (structs.replace(state, rev=12), DeletedMessage(NEW, TALK, 3, 12, 5, who, NOW))


@pytest.mark.parametrize("as_admin", [False, True])
def test_what_is_deleted_stays_as_it_is(as_admin: bool) -> None:
    gone = structs.replace(OLD, rev=9, deleted=True)
    for who in (ANN, BOB):
        decided = decide_delete(group("owner"), DeleteMessage(who, NEW, as_admin=as_admin), gone, NOW)
        assert decided == MessageDeleted(9)


def test_where_nothing_is_nothing_is_deleted() -> None:
    for as_admin in (False, True):
        decided = decide_delete(None, DeleteMessage(ANN, NEW, as_admin=as_admin), OLD, NOW)
        assert isinstance(decided, KithError)
        assert decided.code == ErrorCode.CONVERSATION_NOT_FOUND
