"""Pools of networks that lose what matters most: the answer to a COMMIT."""

import trio

from storage.database_errors import DatabaseAwayError
from storage.postgres import Postgres, Statements, Work


class AnswerLost:
    """The pool of a network that loses the answer to the first COMMIT of each write, after it took effect."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.lose = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._postgres, name)

    async def transaction(self, work: Work[object]) -> object:
        result = await self._postgres.transaction(work)
        if self.lose:
            self.lose -= 1
            raise DatabaseAwayError("the answer was lost")
        return result


class StillCommitting:
    """The pool of a network that loses a connection whose COMMIT takes effect a moment later."""

    def __init__(self, postgres: Postgres, nursery: trio.Nursery) -> None:
        self._postgres = postgres
        self._nursery = nursery
        self.slow = True

    async def transaction(self, work: Work[object]) -> object:
        if not self.slow:
            return await self._postgres.transaction(work)
        self.slow, done = False, trio.Event()

        async def slowly(statements: Statements) -> None:
            await work(statements)
            done.set()
            await statements.execute("select pg_sleep(0.3)")

        self._nursery.start_soon(self._postgres.transaction, slowly)
        await done.wait()
        raise DatabaseAwayError("the connection was lost")
