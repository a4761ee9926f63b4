"""What supervisor and workers agree on: shares, waits after deaths, the line between them, one text of all numbers."""

import sys

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from actors.limiter import Limit
from actors.metrics import Metrics
from actors.shapes.times import Seconds
from realtime.limits import limiter_options
from realtime.settings import SettingsError, load_settings
from realtime.workers.crew import Crew, CrewVital
from realtime.workers.deaths import LONG, Deaths
from realtime.workers.line import AskNumbers, Beat, Gathered, GiveNumbers, HereIAm, Line, Message, Numbers, Ready
from realtime.workers.numbers import labelled, merged
from realtime.workers.share import share_of
from realtime.workers.worker import Worker

# -- Shares


def test_the_shares_of_all_workers_are_no_more_than_the_whole() -> None:
    settings = load_settings({"KITH_WORKERS": "3", "KITH_NODE": "host", "DATABASE_POOL_MAX": "17"})
    shares = [share_of(settings, number) for number in (1, 2, 3)]
    assert [share.kith_node for share in shares] == ["host-1", "host-2", "host-3"]
    assert sum(share.database_pool_max for share in shares) == 15
    assert {share.max_connections for share in shares} == {6_667}
    assert {share.password_hash_concurrency for share in shares} == {1}
    assert {share.mailbox_capacity for share in shares} == {settings.mailbox_capacity}


@pytest.mark.parametrize(("workers", "pool", "fits"), [(1, 4, True), (2, 9, False), (2, 10, True), (64, 319, False)])
def test_a_pool_that_is_too_small_for_its_workers_is_named(workers: int, pool: int, fits: bool) -> None:
    given = {"KITH_WORKERS": str(workers), "DATABASE_POOL_MAX": str(pool)}
    if fits:
        assert load_settings(given).database_pool_max == pool
    else:
        with pytest.raises(SettingsError, match=f"must be at least {workers * 5} for KITH_WORKERS={workers}"):
            load_settings(given)


def test_what_protects_passwords_is_divided_and_the_rest_is_whole() -> None:
    alone = limiter_options(load_settings({})).limits
    three = limiter_options(load_settings({"KITH_WORKERS": "3"})).limits
    for limit in (Limit.LOGINS, Limit.REGISTRATIONS):
        whole, part = alone[limit].rate, three[limit].rate
        assert part.per_second * 3 == pytest.approx(whole.per_second)
        assert whole.capacity <= part.capacity * 3 < whole.capacity + 3
    for limit in set(alone) - {Limit.LOGINS, Limit.REGISTRATIONS}:
        assert three[limit] == alone[limit]
    many = limiter_options(load_settings({"KITH_WORKERS": "5", "RATE_LOGINS_BURST": "2"})).limits
    assert many[Limit.LOGINS].rate.capacity == 1, "divided, and still everybody can sign in"


# -- Deaths


def test_a_worker_that_dies_again_and_again_waits_longer_and_is_never_given_up() -> None:
    deaths = Deaths()
    now, waits = 0.0, []
    for _ in range(20):
        waits.append(deaths.wait_after(Seconds(now)))
        now += waits[-1] + 0.5
    assert waits[0] == 0.0, "its clients are waiting"
    assert all(wait < 1.0 for wait in waits[:4])
    assert all(wait >= LONG for wait in waits[4:7])
    assert max(waits) == 30.0
    assert len([wait for wait in waits if wait < LONG]) <= 10, "a busy loop"
    assert deaths.wait_after(Seconds(now + 3_600.0)) == 0.0, "what was long ago counts no more"


# -- Numbers


def test_the_numbers_of_all_are_one_exposition() -> None:
    texts: dict[int, bytes | None] = {2: None}
    for number in (1, 3):
        metrics = Metrics()
        metrics.counter("sent_total", "Things sent").add(number)
        metrics.counters("refused_total", "Refused", ("why",)).of('a } "quoted" { brace').add(1)
        metrics.spread("seconds", "How long").observe(0.2)
        if number == 3:
            metrics.gauge("only_here", "Of one worker").set(7)
        texts[number] = metrics.expose()[1]
    lines = merged(texts).decode().splitlines()
    heads = [line for line in lines if line.startswith("#")]
    assert len(heads) == len(set(heads))
    assert [line for line in lines if line.startswith("up_worker{")] == [
        'up_worker{worker="1"} 1',
        'up_worker{worker="2"} 0',
        'up_worker{worker="3"} 1',
    ]
    assert 'sent_total{worker="1"} 1.0' in lines
    assert 'sent_total{worker="3"} 3.0' in lines
    assert 'refused_total{worker="3",why="a } \\"quoted\\" { brace"} 1.0' in lines
    assert 'seconds_bucket{worker="1",le="0.2"} 1.0' in lines
    assert 'only_here{worker="3"} 7.0' in lines
    # All lines of a family stand together, below its type: Prometheus takes no other order.
    begin = lines.index("# TYPE seconds histogram")
    family = lines[begin + 1 : begin + 1 + 2 * 17]
    assert all(line.startswith("seconds_") for line in family)


def test_a_label_is_put_where_labels_are() -> None:
    assert labelled("up 1", 4) == 'up{worker="4"} 1'
    assert labelled('a{b="c d"} 1 170', 4) == 'a{worker="4",b="c d"} 1 170'


# -- The line


async def test_messages_cross_the_line_whole_and_in_order() -> None:
    here, there = memory_stream_pair()
    ours, theirs = Line(here), Line(there)
    sent: list[Message] = [Ready(), Beat(2, 7), HereIAm(5), AskNumbers(1), GiveNumbers(2), Numbers(3, b"x" * 200_000)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.run)
        sent.append(Gathered(4, {1: b"one", 2: b""}))
        for message in sent:
            assert ours.post(message)
        assert [await theirs.receive() for _ in range(len(sent))] == sent
        await ours.aclose()
        assert await theirs.receive() is None
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("damage", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x02{}", b"\x00\x00"])
async def test_what_is_no_message_ends_the_line(damage: bytes) -> None:
    here, there = memory_stream_pair()
    await here.send_all(damage)
    await here.aclose()
    assert await Line(there).receive() is None


async def test_who_does_not_read_costs_no_memory() -> None:
    here, _ = memory_stream_pair()
    line = Line(here)
    assert [line.post(Beat(1, 0)) for _ in range(65)] == [True] * 64 + [False]


# -- The crew


class OtherEnd:
    """The supervisor's end of one worker's line."""

    def __init__(self, *, of: int = 3, after_crash: bool = False) -> None:
        here, there = memory_stream_pair()
        self.line = Line(there)
        self.crew = Crew(1, of, after_crash=after_crash, line=Line(here))
        self.crew.expose = lambda: b"# TYPE mine gauge\nmine 1\n"
        self.orphaned = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.line.run)
            nursery.start_soon(self.crew.run, self.orphaned.set)


async def test_a_worker_tells_its_own_numbers_and_those_of_the_others(autojump_clock: MockClock) -> None:
    end = OtherEnd()
    found: list[str] = []
    scraped = trio.Event()

    async def scrape() -> None:
        found.append((await end.crew.exposition())[1].decode())
        scraped.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        end.line.post(GiveNumbers(9))
        assert await end.line.receive() == Numbers(9, end.crew.expose())
        nursery.start_soon(scrape)
        asked = await end.line.receive()
        assert isinstance(asked, AskNumbers)
        end.line.post(Gathered(asked.ticket, {3: b"# TYPE mine gauge\nmine 3\n"}))
        await scraped.wait()
        nursery.cancel_scope.cancel()
    assert 'mine{worker="1"} 1' in found[0]
    assert 'mine{worker="3"} 3' in found[0]
    assert 'up_worker{worker="2"} 0' in found[0]


async def test_a_scrape_ends_though_the_supervisor_says_nothing(autojump_clock: MockClock) -> None:
    end = OtherEnd()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        text = (await end.crew.exposition())[1].decode()
        end.line.post(Gathered(1, {2: b""}))  # too late: nobody waits
        end.line.post(Beat(3, 0))
        assert isinstance(await end.line.receive(), AskNumbers)
        assert isinstance(await end.line.receive(), HereIAm)
        nursery.cancel_scope.cancel()
    assert 'up_worker{worker="1"} 1' in text
    assert 'up_worker{worker="3"} 0' in text


async def test_a_second_answer_to_one_ticket_ends_nobody() -> None:
    """It ended the worker, or with `Numbers` the supervisor and everybody: the place for the one answer was taken."""
    end = OtherEnd()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        nursery.start_soon(end.crew.exposition)
        asked = await end.line.receive()
        assert isinstance(asked, AskNumbers)
        for _ in range(3):
            end.line.post(Gathered(asked.ticket, {2: b""}))
        end.line.post(Beat(3, 0))
        assert isinstance(await end.line.receive(), HereIAm)
        nursery.cancel_scope.cancel()
    _, there = memory_stream_pair()
    process = await trio.lowlevel.open_process([sys.executable, "-c", ""])
    worker, found = Worker(1, process, Line(there)), list[bytes | None]()

    async def ask() -> None:
        found.append(await worker.numbers(Seconds(5.0)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        for text in (b"one", b"two"):
            worker.told(1, text)
    assert found == [b"one"]
    await process.wait()


async def test_a_number_that_cannot_be_read_ends_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    """An exception out of one reading ended the worker that was asked, with all its connections, at each scrape."""
    end = OtherEnd()

    def bug() -> bytes:
        raise ValueError("of a gauge")

    end.crew.expose = bug
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        end.line.post(GiveNumbers(1))
        end.line.post(Beat(3, 0))
        assert isinstance(await end.line.receive(), HereIAm)
        nursery.cancel_scope.cancel()
    assert "this worker's numbers cannot be told" in caplog.text


async def test_a_worker_answers_beats_and_learns_who_lives() -> None:
    end = OtherEnd()
    end.crew.connections = lambda: 42
    vital = CrewVital(end.crew)
    assert await vital.check() == ("ok", 0.0, True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.run)
        end.line.post(Beat(2, 17))
        assert await end.line.receive() == HereIAm(42)
        assert (end.crew.live, end.crew.fewest) == (2, 17)
        assert await vital.check() == ("2 of 3 live", 0.0, True)
        await end.line.aclose()
        await end.orphaned.wait()
        nursery.cancel_scope.cancel()
