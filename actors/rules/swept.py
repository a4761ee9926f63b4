"""What the members of a conversation are told of revisions that another node committed."""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from actors.shapes.flushes import Changed, SweptMessage, Window
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.messages import MessageTombstone, RevMoved

Range = tuple[int, int]  # revisions, without the first and with the last


class Telling(Struct, frozen=True):
    """One event and whom it goes to; without a type it is a change for which there is no event: nobody may go on as if
    nothing had happened."""

    rev: int
    type: str
    payload: object
    to: list[UserId]
    seq: int = 0  # of a new message; of a deleted one negative
    sender: UserId = UserId("")


def windows_of(pending: dict[ConversationId, list[Range]], most: int) -> list[Window]:
    """What is read next: whole conversations from the front, of at most so many revisions together; of the first one
    alone so many."""
    windows: list[Window] = []
    revs = 0
    for id, ranges in pending.items():
        after, upto = ranges[0][0], ranges[-1][1]
        if not windows:
            upto = min(upto, after + most)
        revs += upto - after
        if revs > most:
            break
        windows.append(Window(id, after, upto))
    return windows


def taken(ranges: list[Range], upto: int) -> tuple[list[Range], list[Range]]:
    """The ranges up to a revision, and the rest."""
    first = [(old, min(new, upto)) for old, new in ranges if old < upto]
    rest = [(max(old, upto), new) for old, new in ranges if new > upto]
    return first, rest


def tellings(changed: Changed, ranges: Sequence[Range]) -> list[Telling]:
    """One event for each revision of the ranges, rising.

    The rows are read as they are now and not as the flush left them. A message that has changed since is shown as it
    is, under the revision that the flush gave it, and its later change follows under its own. What has left no trace,
    because a later change took its place, is a bare `rev`, so that no client takes it for a hole.
    """
    found: dict[int, Telling] = {}
    for message in changed.messages:
        for of_message in _of_message(changed, message):
            found.setdefault(of_message.rev, of_message)
    for rev, of_the_rest in _of_the_rest(changed):
        found.setdefault(rev, of_the_rest)
    told: list[Telling] = []
    for old, new in ranges:
        for rev in range(old + 1, new + 1):
            readers, telling = _who(changed, rev), found.get(rev)
            if telling is not None and telling.to:
                told.append(telling)
                readers = [user for user in readers if user not in telling.to]
            if readers:
                told.append(Telling(rev, "rev", RevMoved(changed.id, rev), readers))
    return told


def _of_message(changed: Changed, message: SweptMessage) -> Iterator[Telling]:
    view, created = message.view, message.created_rev
    if view.deleted_at is None:
        first = view if view.rev == created else replace(view, rev=created)
        yield Telling(created, "message.created", first, _who(changed, created), view.seq, view.sender_id)
        if view.rev != created:
            yield Telling(view.rev, "message.updated", view, _who(changed, view.rev, created))
    else:
        by = view.deleted_by if isinstance(view.deleted_by, str) else view.sender_id
        gone = MessageTombstone(view.conversation_id, view.id, view.seq, view.rev, by, view.deleted_at)
        yield Telling(view.rev, "message.deleted", gone, _who(changed, view.rev, created), -view.seq)


def _of_the_rest(changed: Changed) -> Iterator[tuple[int, Telling]]:
    """A birth; of anything else that no message explains there is no event yet."""
    if changed.own is not None:
        born = replace(changed.own, rev=1, from_rev=1, conversation_id=changed.id)
        yield 1, Telling(1, "conversation.created", born, _who(changed, 1))
        if changed.own_rev > 1:
            yield changed.own_rev, Telling(changed.own_rev, "", None, _who(changed, changed.own_rev))
    for member in changed.members:
        if member.rev > 1:
            yield member.rev, Telling(member.rev, "", None, _who(changed, member.rev))


def _who(changed: Changed, rev: int, since: int = 0) -> list[UserId]:
    """Who may read this revision, of a message that was there from `since` on."""
    return [m.user_id for m in changed.audience if m.shows(rev) and (not since or m.shows(since))]
