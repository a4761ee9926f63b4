"""Unread counts: counted along from what the database said, and never guessed."""

from hypothesis import given
from hypothesis import strategies as st

from actors.inbox import KEPT, Inbox
from actors.shapes.ids import ConversationId

ONE, TWO = ConversationId("one"), ConversationId("two")


def knowing(unread: int, head: int) -> Inbox:
    inbox = Inbox()
    inbox.learn({ONE: (unread, head)})
    return inbox


def test_what_nobody_asked_for_is_not_counted() -> None:
    inbox = Inbox()
    inbox.note(ONE, 1, own=False)
    assert (inbox.unknown((ONE, TWO)), inbox.counts((ONE,))) == ([ONE, TWO], {})


def test_messages_of_others_count_and_own_ones_do_not() -> None:
    inbox = knowing(3, 10)
    inbox.note(ONE, 11, own=False)
    inbox.note(ONE, 12, own=True)
    inbox.note(ONE, 13, own=False)
    assert inbox.counts((ONE, TWO)) == {ONE: 5}


def test_a_message_that_the_database_had_counted_already_counts_once() -> None:
    inbox = knowing(3, 10)
    inbox.note(ONE, 9, own=False)
    inbox.note(ONE, 10, own=False)
    assert inbox.counts((ONE,)) == {ONE: 3}


def test_after_a_hole_the_database_is_asked_again() -> None:
    """A message that never came here (refused by a full mailbox, written by another node) was left out of the count for
    good, because the next one was simply added."""
    inbox = knowing(3, 10)
    inbox.note(ONE, 12, own=False)
    assert inbox.unknown((ONE,)) == [ONE]
    inbox.learn({ONE: (5, 12)})
    inbox.note(ONE, 13, own=False)
    assert inbox.counts((ONE,)) == {ONE: 6}


def test_forgetting_forgets_everything() -> None:
    inbox = knowing(3, 10)
    inbox.forget()
    assert inbox.unknown((ONE,)) == [ONE]
    inbox.note(ONE, 11, own=False)
    assert inbox.counts((ONE,)) == {}


def test_what_is_kept_is_bounded_and_the_newest_stays() -> None:
    inbox = Inbox()
    names = [ConversationId(f"{n}") for n in range(KEPT + 10)]
    for name in names:
        inbox.learn({name: (1, 1)})
    assert len(inbox.counts(tuple(names))) == KEPT
    assert inbox.unknown(tuple(names)) == names[:10]


steps = st.lists(st.tuples(st.sampled_from(["mine", "theirs", "lost", "ask"])), max_size=60)


@given(steps)
def test_every_answer_agrees_with_a_recount(happenings: list[tuple[str]]) -> None:
    inbox, sequence, unread = Inbox(), 0, 0
    for (what,) in happenings:
        if what == "ask":
            if inbox.unknown((ONE,)):
                inbox.learn({ONE: (unread, sequence)})
            # Only a message that was lost since may be missing, and only until the next one shows the hole.
            assert inbox.counts((ONE,))[ONE] <= unread
            continue
        sequence += 1
        unread += what != "mine"
        if what != "lost":
            inbox.note(ONE, sequence, own=what == "mine")
            if not inbox.unknown((ONE,)):
                assert inbox.counts((ONE,)) == {ONE: unread}
