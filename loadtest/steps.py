"""The named steps of one `message.send`, and a recorder of those that are really taken, so that no benchmark has a lane
of its own."""

import sys
from types import FrameType
from typing import Any, Final

SESSION: Final = "session: a frame is read"
COMMAND: Final = "session: the command is decoded"
LIMITER: Final = "limiter: a token is taken"
PAYLOAD: Final = "rules: the payload is checked"
BATCH: Final = "conversation: its actor takes the batch"
IDEMPOTENCY: Final = "conversation: idempotency is looked at"
DECIDED: Final = "rules: the send is decided"
MEMBERSHIP: Final = "rules: membership is checked"
BLOCKS: Final = "rules: blocks are checked"
JOURNAL: Final = "journal: the unit is appended"
PUBLISHED: Final = "conversation: what is on disk is published"
USER: Final = "user: his actor delivers"
UNREAD: Final = "user: unread is counted"
SOCKET: Final = "session: a frame is given to the socket"

# Sender and receiver have one connection each; the sender's is given the `ok`. Which of the two comes first is trio's
# choice, and nothing here tells them apart.
STEPS_OF_A_SEND: Final = (
    SESSION,
    COMMAND,
    LIMITER,
    PAYLOAD,
    BATCH,
    IDEMPOTENCY,
    DECIDED,
    MEMBERSHIP,
    BLOCKS,
    JOURNAL,
    PUBLISHED,
    USER,
    UNREAD,
    SOCKET,
    USER,
    UNREAD,
    SOCKET,
)

# Where each step is taken. A step that moves is entered here anew; one that is skipped is missed by the recorder.
PLACES: Final = {
    ("realtime.session", "Session.text"): SESSION,
    ("realtime.inbound", "Command.run"): COMMAND,
    ("actors.rules.bucket", "TokenBucket.take"): LIMITER,
    ("actors.rules.payloads", "send_command"): PAYLOAD,
    ("actors.conversation", "ConversationActor._send"): BATCH,
    ("actors.recent", "RecentSends.find"): IDEMPOTENCY,
    ("actors.rules.conversation", "decide_send"): DECIDED,
    ("actors.rules.conversation", "access"): MEMBERSHIP,
    ("actors.rules.conversation", "blocked"): BLOCKS,
    ("storage.journal.journal", "PostgresJournal.append"): JOURNAL,
    ("storage.memory.journal", "MemoryJournal.append"): JOURNAL,
    ("actors.sending", "SendBatch.publish"): PUBLISHED,
    ("actors.user", "UserActor._deliver"): USER,
    ("actors.inbox", "Inbox.note"): UNREAD,
    ("realtime.session", "Session.deliver"): SOCKET,
}


class StepRecorder:
    """Records, in their order, the steps that this thread takes inside a `with`; in the process of the node only."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self._frames: set[FrameType] = set()  # held, so that a coroutine that goes on is not taken for a new one

    def __enter__(self) -> "StepRecorder":
        sys.setprofile(self._see)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)
        self._frames.clear()

    def _see(self, frame: FrameType, what: str, _argument: Any) -> None:
        if what != "call":
            return
        step = PLACES.get((frame.f_globals.get("__name__", ""), frame.f_code.co_qualname))
        if step is not None and frame not in self._frames:
            self._frames.add(frame)
            self.taken.append(step)
