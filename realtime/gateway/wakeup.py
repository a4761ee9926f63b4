"""A wake-up call for one waiting task: cheaper than an event made anew for every tick."""

import trio


class WakeUp:
    """`ring` is remembered until the next `wait`, so none is lost between two waits."""

    __slots__ = ("_rung", "_sleeper")

    def __init__(self) -> None:
        self._rung = False
        self._sleeper: trio.lowlevel.Task | None = None

    def ring(self) -> None:
        self._rung = True
        if self._sleeper is not None:
            trio.lowlevel.reschedule(self._sleeper)
            self._sleeper = None

    async def wait(self) -> None:
        """Return once rung since the last wait; always lets others run first."""
        if self._rung:
            self._rung = False
            await trio.lowlevel.checkpoint()
            return
        self._sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._rung = False
