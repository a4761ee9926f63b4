"""However many ask for the numbers, gathering them takes a tenth of the time, and nobody gets old ones."""

import pytest
import trio
from trio.testing import MockClock

from realtime.scrapes import Exposition, Scrapes

TAKES = 0.03


class Numbers:
    def __init__(self) -> None:
        self.begun: list[float] = []
        self.wrong = False

    async def gather(self) -> Exposition:
        self.begun.append(trio.current_time())
        await trio.sleep(TAKES)
        if self.wrong:
            raise ValueError("a bug")
        return "text/plain", str(len(self.begun)).encode()


async def test_a_crowd_shares_and_leaves_nine_tenths(autojump_clock: MockClock) -> None:
    numbers = Numbers()
    scrapes = Scrapes(numbers.gather, trio.current_time)
    told = 0

    async def ask_again_and_again() -> None:
        nonlocal told
        while trio.current_time() < 3.0:
            asked = trio.current_time()
            _, body = await scrapes()
            assert numbers.begun[int(body) - 1] >= asked, "older than the question"
            told += 1

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask_again_and_again)
    assert len(numbers.begun) <= 3.0 / (TAKES * 10) + 2
    assert told >= 50 * (len(numbers.begun) - 1)


async def test_one_scrape_now_and_then_waits_for_nothing(autojump_clock: MockClock) -> None:
    numbers = Numbers()
    scrapes = Scrapes(numbers.gather, trio.current_time)
    for at in (0.0, 1.0, 2.0):
        await trio.sleep_until(at)
        await scrapes()
    assert numbers.begun == [0.0, 1.0, 2.0]


async def test_a_gathering_that_fails_is_nobody_elses(autojump_clock: MockClock) -> None:
    numbers = Numbers()
    scrapes = Scrapes(numbers.gather, trio.current_time)
    await scrapes()
    numbers.wrong = True
    with pytest.raises(ValueError, match="a bug"):
        await scrapes()
    numbers.wrong = False
    assert (await scrapes())[1] == b"3"
