"""The way of one message, step by step: the list that the benchmark is held to, so that it has no lane of its own."""

import pytest

from actors.inbox import Inbox
from loadtest.steps import BLOCKS, LIMITER, STEPS_OF_A_SEND, UNREAD, USER, StepRecorder
from tests.actors.small_node import settled, small_node
from tests.realtime.small_gate import SmallGate


async def steps_of_one_send() -> tuple[list[str], list[str]]:
    """What was taken, and what the two clients heard."""
    async with small_node() as node:
        gate = SmallGate(node)
        ann, bob = node.add_user("ann"), node.add_user("bob")
        talk = node.add_direct(ann, bob)
        sender, receiver = await gate.ready(ann), await gate.ready(bob)
        await sender.command("message.send", conversation_id=talk, client_id=node.new_id(), text="wake up")
        receiver.link.take()
        payload = {"conversation_id": talk, "client_id": node.new_id(), "text": "hello"}
        with StepRecorder() as recorder:
            sender.say({"type": "message.send", "ref": 1, "payload": payload})
            await settled()
        heard = [said["type"] for said in (*sender.link.take(), *receiver.link.take())]
        return recorder.taken, heard


async def test_a_send_takes_every_step_in_this_order(autojump_clock: object) -> None:
    taken, heard = await steps_of_one_send()
    assert tuple(taken) == STEPS_OF_A_SEND
    assert heard == ["ok", "message.created"]


async def test_a_step_that_is_left_out_is_missed(autojump_clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inbox, "note", lambda *_, **__: None)
    taken, heard = await steps_of_one_send()
    assert heard == ["ok", "message.created"]
    assert taken == [step for step in STEPS_OF_A_SEND if step != UNREAD]


def test_the_list_holds_what_a_lane_would_leave_out() -> None:
    assert {BLOCKS, LIMITER, UNREAD, USER} <= set(STEPS_OF_A_SEND)
