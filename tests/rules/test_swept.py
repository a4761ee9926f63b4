"""What members are told of revisions that another node committed: tables of (rows, ranges) and the events."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.swept import Range, taken, tellings, windows_of
from actors.shapes.conversations import ConversationView, MemberView
from actors.shapes.flushes import Changed, Interval, SweptMessage, Window
from actors.shapes.ids import ClientId, ConversationId, MessageId, UserId
from actors.shapes.messages import MessageView

TALK = ConversationId("talk")
ANN, BOB, EVE = UserId("ann"), UserId("bob"), UserId("eve")
BOTH = [Interval(ANN, 1), Interval(BOB, 1)]
AT = "2026-11-20T07:00:00.000Z"


def message(seq: int, created: int, rev: int | None = None, *, deleted: bool = False) -> SweptMessage:
    view = MessageView(
        MessageId(f"m{seq}"), TALK, seq, rev or created, ANN, "Ann", ClientId(f"c{seq}"), AT, None if deleted else "hi"
    )
    if deleted:
        view = MessageView(
            view.id, TALK, seq, view.rev, ANN, "Ann", view.client_id, AT, None, deleted_at=AT, deleted_by=BOB
        )
    return SweptMessage(created, view)


def told(changed: Changed, *ranges: Range) -> list[tuple[int, str, tuple[UserId, ...]]]:
    return [(telling.rev, telling.type, tuple(telling.to)) for telling in tellings(changed, list(ranges))]


def view(rev: int) -> ConversationView:
    return ConversationView(TALK, "direct", None, None, "standard", 0, 2, None, rev, AT, AT)


def test_new_messages_are_told_in_the_order_of_their_revisions() -> None:
    changed = Changed(TALK, BOTH, [message(2, 3), message(1, 2)])
    assert told(changed, (1, 3)) == [(2, "message.created", (ANN, BOB)), (3, "message.created", (ANN, BOB))]


def test_what_lies_between_the_ranges_was_told_by_who_committed_it() -> None:
    changed = Changed(TALK, BOTH, [message(n, n + 1) for n in range(1, 6)])
    assert [rev for rev, _, _ in told(changed, (1, 2), (4, 6))] == [2, 5, 6]


def test_a_message_that_was_changed_within_the_ranges_is_told_under_both_revisions() -> None:
    changed = Changed(TALK, BOTH, [message(1, 2, rev=4), message(2, 3)])
    first, second, third = tellings(changed, [(1, 4)])
    assert [(t.rev, t.type, t.seq) for t in (first, second, third)] == [
        (2, "message.created", 1),
        (3, "message.created", 2),
        (4, "message.updated", 0),
    ]
    payload: Any = first.payload
    assert payload.rev == 2, "under the revision of its flush, so that no client takes 3 for known"


def test_a_message_that_was_changed_later_is_told_under_the_revision_of_the_range() -> None:
    changed = Changed(TALK, BOTH, [message(1, 2, rev=9)])
    assert told(changed, (1, 2)) == [(2, "message.created", (ANN, BOB))]


def test_a_change_of_an_old_message_is_an_update() -> None:
    assert told(Changed(TALK, BOTH, [message(1, 2, rev=9)]), (8, 9)) == [(9, "message.updated", (ANN, BOB))]


def test_a_change_of_a_message_from_before_he_came_is_no_news_of_it() -> None:
    changed = Changed(TALK, [Interval(ANN, 1), Interval(EVE, 5)], [message(1, 2, rev=9)])
    assert told(changed, (8, 9)) == [(9, "message.updated", (ANN,)), (9, "rev", (EVE,))]


def test_a_deletion() -> None:
    (telling,) = tellings(Changed(TALK, BOTH, [message(3, 4, rev=9, deleted=True)]), [(8, 9)])
    assert (telling.rev, telling.type, telling.seq) == (9, "message.deleted", -3)
    payload: Any = telling.payload
    assert (payload.message_id, payload.rev, payload.deleted_by) == ("m3", 9, BOB)


def test_a_message_that_came_and_went_leaves_no_hole_and_no_text() -> None:
    changed = Changed(TALK, BOTH, [message(1, 2, rev=3, deleted=True)])
    assert told(changed, (1, 3)) == [(2, "rev", (ANN, BOB)), (3, "message.deleted", (ANN, BOB))]
    assert told(changed, (1, 2)) == [(2, "rev", (ANN, BOB))]


def test_a_birth_is_told_with_its_first_revision() -> None:
    changed = Changed(TALK, BOTH, [message(1, 2)], [member(ANN, 1), member(BOB, 1)], view(2), 1)
    first, second = tellings(changed, [(0, 2)])
    assert (first.type, second.type) == ("conversation.created", "message.created")
    payload: Any = first.payload
    assert (payload.rev, payload.from_rev, payload.conversation_id) == (1, 1, TALK)


def member(user: UserId, rev: int) -> MemberView:
    return MemberView(user, user, None, None, "member", AT, None, rev)


def test_a_change_without_an_event_is_not_passed_over() -> None:
    """Somebody builds the next kind of change and forgets this file: the connections reload, and nothing is missed."""
    assert told(Changed(TALK, BOTH, [], [member(EVE, 7)]), (6, 7)) == [(7, "", (ANN, BOB))]
    assert told(Changed(TALK, BOTH, [], [], view(7), 7), (6, 7)) == [(7, "", (ANN, BOB))]


@pytest.mark.parametrize(
    ("joined", "left", "hears"),
    [
        (1, None, ["message.created", "message.created", "message.deleted"]),
        (
            3,
            None,
            ["message.created", "rev"],
        ),  # of the one that was deleted he knows nothing but that a revision passed
        (4, None, ["rev"]),
        (5, None, []),
        (1, 2, ["message.created"]),
        (1, 3, ["message.created", "message.created"]),
    ],
)
def test_a_member_hears_what_lies_within_his_membership(joined: int, left: int | None, hears: list[str]) -> None:
    rows = [message(1, 2), message(2, 3), message(0, 1, rev=4, deleted=True)]
    changed = Changed(TALK, [Interval(EVE, joined, left)], rows)
    assert [telling.type for telling in tellings(changed, [(1, 4)]) if EVE in telling.to] == hears


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.integers(1, 12), st.data())
def test_pages_give_each_revision_once_and_in_order(steps: list[int], most: int, data: st.DataObject) -> None:
    """However the flushes of three conversations fall into pages."""
    pending: dict[ConversationId, list[Range]] = {}
    heads: dict[ConversationId, int] = {}
    wanted: list[tuple[ConversationId, int]] = []
    for step in steps:
        id = ConversationId(data.draw(st.sampled_from("abc")))
        old = heads.get(id, 1) + data.draw(st.integers(0, 2))  # what lies between is this node's own
        heads[id] = old + step
        pending.setdefault(id, []).append((old, old + step))
        wanted += [(id, rev) for rev in range(old + 1, old + step + 1)]
    got: list[tuple[ConversationId, int]] = []
    while pending:
        windows = windows_of(pending, most)
        assert windows
        assert sum(window.upto_rev - window.after_rev for window in windows) <= most
        for window in windows:
            first, rest = taken(pending.pop(window.id), window.upto_rev)
            if rest:
                pending[window.id] = rest
            got += [(window.id, rev) for old, new in first for rev in range(old + 1, new + 1)]
    assert sorted(got) == sorted(wanted)
    for id in heads:
        revs = [rev for other, rev in got if other == id]
        assert revs == sorted(revs)


def test_a_window_is_never_empty() -> None:
    assert windows_of({TALK: [(1, 2_000)]}, 500) == [Window(TALK, 1, 501)]
