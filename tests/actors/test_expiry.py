"""A timer inside an actor: only the wait may expire, and the rule, not the timer, decides that it is over.

The two toys that look alike stay here as mutants, which must fail.
"""

from typing import Final

import pytest
import trio
from msgspec import Struct
from trio.testing import MockClock

from actors.clock import FAKE_START, FakeClock, trio_deadline
from actors.directory import Directory
from actors.kinds import Activation, ActorKind
from actors.mailbox import Envelope, StopReason
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.times import Seconds, WallTime
from actors.system import ActorSystem
from tests.actors.stage import Heard, running

EXPIRES_AT: Final = WallTime(FAKE_START + 60_000)
COMMIT_TAKES: Final = 0.35


class View(Struct, frozen=True):
    viewer: str


class World:
    """The clock, and the views that are on disk."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.written: list[str] = []
        self.ends: list[WallTime] = []


class Story:
    """What every version of the actor shares: the rule, the write, the answer."""

    def __init__(self, world: World, activation: Activation[str, int, View]) -> None:
        self.world = world
        self.mailbox = activation.mailbox
        self.over = False
        self.mailbox.pinned = True  # it has a timer: it must not sleep through its expiry

    async def run(self) -> StopReason:
        while not self.over:
            commands: list[Envelope[View]] = []
            with trio.move_on_at(trio_deadline(self.world.clock, EXPIRES_AT)):
                commands = await self.mailbox.drain()
            await self.handle(commands)
        return self.end()

    async def handle(self, commands: list[Envelope[View]]) -> None:
        now = self.world.clock.now()
        if commands and now < EXPIRES_AT:
            await trio.sleep(COMMIT_TAKES)
            self.world.written += [envelope.command.viewer for envelope in commands]
            for envelope in commands:
                envelope.answer("viewed")
        else:
            for envelope in commands:
                envelope.refuse(KithError(ErrorCode.STORY_EXPIRED))
            self.over = now >= EXPIRES_AT

    def end(self) -> StopReason:
        self.world.ends.append(self.world.clock.now())
        return StopReason.EXPIRED


class HandlesUnderTheDeadline(Story):
    """The mutant that saves an indentation: its commands can be cut in half."""

    async def run(self) -> StopReason:
        while not self.over:
            with trio.move_on_at(trio_deadline(self.world.clock, EXPIRES_AT)) as timer:
                await self.handle(await self.mailbox.drain())
            if timer.cancelled_caught:
                await self.handle([])
        return self.end()


class LetsTheTimerDecide(Story):
    """The mutant that trusts its alarm: a clock that was set back meanwhile makes it end early."""

    async def run(self) -> StopReason:
        while True:
            with trio.move_on_at(trio_deadline(self.world.clock, EXPIRES_AT)) as timer:
                commands = await self.mailbox.drain()
            if timer.cancelled_caught:
                return self.end()
            await self.handle(commands)


async def views_around_the_expiry(version: type[Story], set_back: float = 0.0) -> World:
    """Views a tenth of a second apart, from two seconds before the expiry to two seconds after it; all must be told the
    truth, and what was told must be on disk."""
    world = World()
    system = ActorSystem(world.clock)
    kind: ActorKind[str, int, View] = ActorKind(
        "story", load_nothing, lambda activation, state: version(world, activation), Seconds(10)
    )
    stories: Directory[str, int, View] = system.register(kind)
    askers = {f"viewer {number}": Heard() for number in range(40)}
    async with running(system):
        stories.tell("s", View("the first"))
        await trio.sleep(30)
        world.clock.skew = Seconds(-set_back)  # the node learned that its clock was ahead
        await trio.sleep(28 + set_back)
        for viewer, asker in askers.items():
            stories.tell("s", View(viewer), asker)
            await trio.sleep(0.1)
        await trio.sleep(10)
        assert not stories.is_awake("s")
    # Each view after the first end wakes it for another; all of them must come after its hour.
    assert EXPIRES_AT <= world.ends[0] <= EXPIRES_AT + 1_000 * COMMIT_TAKES + 1, "it ended at its hour"
    viewed = [viewer for viewer, asker in askers.items() if asker.answers == ["viewed"]]
    refused = [viewer for viewer, asker in askers.items() if asker.codes == ["STORY_EXPIRED"]]
    assert len(viewed) + len(refused) == len(askers), "every command has exactly one outcome"
    assert viewed + refused == list(askers), "nobody is refused before somebody who came later is heard"
    assert world.written == ["the first", *viewed], "what was acknowledged is what was written"
    assert 20 - COMMIT_TAKES / 0.1 <= len(viewed) <= 20, "but for those who came during the last commit"
    return world


async def load_nothing(ids: object) -> dict[str, int]:
    return {}


@pytest.mark.parametrize("set_back", [0.0, 5.0])
async def test_only_the_wait_may_expire(autojump_clock: MockClock, set_back: float) -> None:
    await views_around_the_expiry(Story, set_back)


async def test_handling_under_the_deadline_breaks_it(autojump_clock: MockClock) -> None:
    with pytest.raises(AssertionError, match="exactly one outcome"):
        await views_around_the_expiry(HandlesUnderTheDeadline)


async def test_letting_the_timer_decide_breaks_it(autojump_clock: MockClock) -> None:
    with pytest.raises(AssertionError, match="it ended at its hour"):
        await views_around_the_expiry(LetsTheTimerDecide, set_back=5.0)


async def test_a_shutdown_is_no_expiry(autojump_clock: MockClock) -> None:
    """An outer cancellation goes through the deadline of the wait: the story has not ended because the node did."""
    world = World()
    system = ActorSystem(world.clock)
    kind: ActorKind[str, int, View] = ActorKind(
        "story", load_nothing, lambda activation, state: Story(world, activation), Seconds(10)
    )
    stories = system.register(kind)
    async with running(system):
        stories.tell("s", View("somebody"))
        await trio.sleep(10)
    assert world.ends == []
    assert stories.stops == {StopReason.CUT_OFF: 1}
