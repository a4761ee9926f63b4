"""Reads beside the actors: so many at a time, each with an end, and every asker told."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actors.mailbox import Envelope
from actors.reading import Readers
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds
from tests.actors.small_node import Answer, settled


def start(readers: Readers, read: Callable[[], Awaitable[object]]) -> Answer:
    answer = Answer()
    envelope: Envelope[Any] = Envelope(object(), answer)
    readers.start(envelope, read)
    return answer


async def value() -> object:
    return "read"


async def forever() -> object:
    await trio.sleep_forever()


async def refused() -> object:
    raise KithError(ErrorCode.MESSAGE_NOT_FOUND)


async def broken() -> object:
    raise ZeroDivisionError


async def test_every_read_is_answered_and_none_harms_another(autojump_clock: object) -> None:
    readers = Readers(at_once=1, deadline=Seconds(3.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.run)
        answers = [start(readers, read) for read in (value, refused, broken, forever, value)]
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    told = [said.only if isinstance(said.only, str) else said.only.code for said in answers]
    assert told == ["read", "MESSAGE_NOT_FOUND", "INTERNAL_ERROR", "TIMEOUT", "read"]
    assert answers[3].only.outcome == "none"


async def test_so_many_at_a_time_and_so_many_in_the_queue(autojump_clock: object) -> None:
    readers = Readers(at_once=2, queue=3)
    most = now = 0

    async def counted() -> object:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await trio.sleep(1)
        now -= 1
        return "read"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.run)
        await settled()
        first = [start(readers, counted) for _ in range(2)]
        await settled()
        more = [start(readers, counted) for _ in range(4)]
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert most == 2
    assert [said.only for said in (*first, *more[:3])] == ["read"] * 5
    assert more[3].only.code is ErrorCode.OVERLOADED


async def test_when_the_node_stops_every_asker_is_told(autojump_clock: object) -> None:
    """Reads that waited in the queue were dropped without an answer when the readers were cancelled, and those that
    came afterwards queued up for nobody."""
    readers = Readers(at_once=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readers.run)
        await settled()
        answers = [start(readers, forever), start(readers, value)]
        await settled()
        nursery.cancel_scope.cancel()
    answers.append(start(readers, value))
    assert [said.only.code for said in answers] == [ErrorCode.UNAVAILABLE] * 3
    assert {said.only.outcome for said in answers} == {"none"}
