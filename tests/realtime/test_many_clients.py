"""Random lives of two people with several connections: crashes, fences, a journal that refuses or hangs, naps, lost and
new connections. Whatever happens, every command has one reply, every connection every revision in order, and what was
said is what is stored."""

from collections import Counter
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from actors.conversation import ATTEMPTS
from actors.ports import Fenced, Poisoned, Receipt
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import ConversationId, UserId
from actors.shapes.messages import StoredMessage
from storage.memory.tables import ConversationTable
from tests.actors.small_node import SmallNode, settled, small_node
from tests.realtime.small_gate import Client, SmallGate

OPERATIONS = (
    *["send"] * 6, *["repeat"] * 3, "conflict", "after", "settle", "settle", "hold", "release", "fence", "refuse",
    "poison", "lose", "join", "nap", "crash a user", "crash the conversation",
)  # fmt: skip


class Seat:
    """One connection and what its client asked and heard."""

    def __init__(self, user: UserId, client: Client) -> None:
        self.user, self.client = user, client
        self.asked: list[dict[str, Any]] = []  # payloads by ref
        self.heard: list[Any] = []
        self.lost = False

    def listen(self) -> None:
        self.heard += self.client.link.take()

    @property
    def open(self) -> bool:
        return not self.lost and self.client.link.code is None

    def ask(self, payload: dict[str, Any]) -> None:
        self.client.say({"type": "message.send", "ref": len(self.asked), "payload": payload})
        self.asked.append(payload)

    @property
    def replies(self) -> list[Any]:
        return [frame for frame in self.heard if frame["type"] in ("ok", "error")]

    def check_replies(self) -> None:
        told = Counter(frame["ref"] for frame in self.replies)
        assert all(count == 1 for count in told.values()), told
        if self.open:
            assert told.keys() == set(range(len(self.asked)))

    def check_revisions(self, talk: ConversationId, last: int) -> None:
        """Its own sends by their `ok`, all others by their event: each once, in order, without a hole."""
        caught_up = next((frame for frame in self.heard if frame["type"] == "caught_up"), None)
        if caught_up is None:
            return
        head = caught_up["payload"]["heads"][talk]
        revs = []
        for frame in self.heard:
            fresh = frame["type"] == "ok" and not frame["payload"]["duplicate"]
            if (fresh or frame["type"] == "message.created") and frame["payload"]["rev"] > head:
                revs.append(frame["payload"]["rev"])
        expected = list(range(head + 1, last + 1))
        assert revs == (expected if self.open else expected[: len(revs)])


class Lives:
    def __init__(self, node: SmallNode) -> None:
        self.node, self.gate = node, SmallGate(node)
        self.people = [node.add_user("ann"), node.add_user("bob")]
        self.talk = node.add_direct(*self.people)
        self.seats: list[Seat] = []
        self.said: list[tuple[UserId, str, str]] = []
        self.fences = 0
        self.in_order: set[str] = set()  # sends whose `after` was on disk when they were sent

    def seat(self, number: int) -> Seat | None:
        there = [seat for seat in self.seats if seat.open]
        return there[number % len(there)] if there else None

    def join(self, number: int) -> None:
        user = self.people[number % 2]
        client = self.gate.stranger()
        self.seats.append(Seat(user, client))
        client.say({"type": "hello", "payload": {"token": self.gate.token(user)}})

    def say(self, seat: Seat, id: str, text: str, **more: Any) -> None:
        self.said.append((seat.user, id, text))
        seat.ask({"conversation_id": self.talk, "client_id": id, "text": text, **more})

    async def do(self, what: str, number: int) -> None:
        seat = self.seat(number)
        own = [said for said in self.said if seat is not None and said[0] == seat.user]
        if what == "join":
            self.join(number)
        elif what == "nap":
            await trio.sleep(300)
        elif what == "settle":
            await settled()
        elif what in ("hold", "release"):
            getattr(self.node.journal, what)()
        elif what in ("fence", "refuse", "poison"):
            said: dict[str, Receipt | Exception] = {
                "fence": Fenced(),
                "refuse": KithError(ErrorCode.UNAVAILABLE),
                "poison": Poisoned("22021"),
            }
            self.node.journal.script.append(said[what])
            self.fences += what == "fence"
        elif what.startswith("crash"):
            self.crash(what, number)
        elif seat is None:
            return
        elif what == "send" or not own:
            self.say(seat, self.node.new_id(), f"text {len(self.said)}")
        else:
            self.do_with(what, seat, own[number % len(own)])

    def do_with(self, what: str, seat: Seat, earlier: tuple[UserId, str, str]) -> None:
        _, id, text = earlier
        if what == "repeat":
            self.say(seat, id, text)
        elif what == "conflict":
            self.say(seat, id, "something else")
        elif what == "after":
            fresh = self.node.new_id()
            if any((m.sender_id, m.client_id) == (seat.user, id) for m in self.table.messages):
                self.in_order.add(fresh)
            self.say(seat, fresh, f"text {len(self.said)}", after=id)
        else:
            assert what == "lose"
            seat.listen()
            seat.client.lose()
            seat.lost = True

    def crash(self, what: str, number: int) -> None:
        """A command that no rule knows: a bug."""
        directory: Any = self.node.users if what == "crash a user" else self.node.conversations
        address = self.people[number % 2] if what == "crash a user" else self.talk
        try:
            directory.tell(address, object())
        except KithError as error:
            if error.code is not ErrorCode.UNAVAILABLE:  # it has crashed too often, and cools off
                raise

    async def end(self) -> None:
        """Everything comes to rest; a journal that is whole again decides what waits."""
        self.node.journal.script.clear()
        self.node.journal.release()
        await trio.sleep(20)
        await settled()
        for seat in self.seats:
            if not seat.lost:
                seat.listen()

    @property
    def table(self) -> ConversationTable:
        return self.node.tables.conversations[self.talk]

    def check(self) -> None:
        table = self.table
        stored = {(m.sender_id, m.client_id): m for m in table.messages}
        assert len(stored) == len(table.messages)
        assert [m.seq for m in table.messages] == list(range(1, len(stored) + 1))
        assert [m.rev for m in table.messages] == list(range(2, len(stored) + 2))
        for seat in self.seats:
            seat.check_replies()
            seat.check_revisions(self.talk, table.rev)
            for frame in seat.replies:
                asked = seat.asked[frame["ref"]]
                self.check_reply(frame, asked, stored.get((seat.user, asked["client_id"])))
        told_as_new = Counter(
            frame["payload"]["rev"]
            for seat in self.seats
            for frame in seat.replies
            if frame["type"] == "ok" and not frame["payload"]["duplicate"]
        )
        assert all(count == 1 for count in told_as_new.values())
        if all(seat.open for seat in self.seats):
            assert told_as_new.keys() == {m.rev for m in table.messages}

    def check_reply(self, frame: Any, asked: dict[str, Any], row: StoredMessage | None) -> None:
        if frame["type"] == "ok":
            assert row is not None
            said = frame["payload"]
            assert (said["message_id"], said["seq"], said["rev"]) == (row.id, row.seq, row.rev)
            assert asked["text"] == row.text
            return
        code = frame["error"]["code"]
        assert code in {"UNAVAILABLE", "TRY_AGAIN", "INVALID_PAYLOAD", "OUT_OF_ORDER", "IDEMPOTENCY_CONFLICT"}
        if code == "IDEMPOTENCY_CONFLICT":
            assert row is not None
            assert asked["text"] != row.text
        if code == "TRY_AGAIN":
            assert self.fences >= ATTEMPTS
        if code == "OUT_OF_ORDER":
            assert asked["client_id"] not in self.in_order


steps = st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 11)), min_size=10, max_size=60)


@settings(max_examples=150)
@given(steps)
def test_whatever_happens_everybody_is_told_once_in_order_and_the_truth(script: list[tuple[str, int]]) -> None:
    async def main() -> None:
        async with small_node() as node:
            lives = Lives(node)
            for number in range(4):
                lives.join(number)
            await settled()
            for what, number in script:
                await lives.do(what, number)
            await lives.end()
            lives.check()

    trio.run(main, clock=MockClock(autojump_threshold=0))
