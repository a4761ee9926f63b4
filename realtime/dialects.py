"""The dialects of the socket: what each calls an event and what it wraps it in, outwards and inwards, as bytes in and
bytes out. Knows no connection, and looks into no payload.

Everything is said in `kith` first. Another dialect is made of that: the name is replaced and the envelope's keys are,
while every value is copied as the bytes it is.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw, Struct, field

from realtime.inbound import MALFORMED

_open: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_name: Final = msgspec.json.Decoder(str).decode
_encode: Final = msgspec.json.Encoder().encode
_EMPTY: Final = Raw(b"{}")


class Dialect(Struct, frozen=True):
    """`keys`: what the envelope's fields are called where not as in kith, `heard`: the same for what clients say.
    `names`: what events are called where that is not just an underscore for the dot. `always`: the field that no frame
    goes without."""

    name: str
    keys: Mapping[str, str] = field(default_factory=dict)
    heard: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    always: str | None = None

    def event(self, type: str) -> str:
        """What this dialect calls an event, or an answer."""
        return self.names.get(type) or type.replace(".", "_")

    def outward(self, frame: bytes) -> bytes:
        """A frame of kith in this dialect."""
        said: dict[str, object] = {}
        for key, value in _open(frame).items():
            said[self.keys.get(key, key)] = self.event(_name(value)) if key == "type" else value
        if self.always is not None:
            said.setdefault(self.always, _EMPTY)
        return _encode(said)

    def inward(self, frame: bytes) -> bytes:
        """A client's frame as kith would have it. Kith's own keys are understood, too, and win where both are there;
        what is not well formed stays as it is, and the session says what is wrong with it."""
        if not self.heard:
            return frame
        try:
            said = _open(frame)
        except MALFORMED:
            return frame
        ours = {own: key for own, key in self.heard.items() if own in said and key not in said}
        return _encode({ours.get(key, key): value for key, value in said.items()}) if ours else frame


# Clients of 004: only the names differ.
MESSAGING: Final = Dialect("messaging")
# Clients of 003: `event` and `data`, and a message is the MessageReceived of its list of events. An error is told in
# `data`, because that is where such a client looks.
NOVA: Final = Dialect(
    "nova",
    keys={"type": "event", "payload": "data", "error": "data"},
    heard={"event": "type", "data": "payload"},
    names={"message.created": "message_received"},
    always="data",
)
NOVA_PATHS: Final = frozenset({"/api/v1/ws/notifications", "/ws/notifications"})
SUBPROTOCOLS: Final[Mapping[str, Dialect | None]] = {"kith.v1": None, "messaging.v1": MESSAGING}
OTHERS: Final = (MESSAGING, NOVA)


def agreed(path: str, offered: tuple[str, ...]) -> tuple[Dialect | None, str | None]:
    """The dialect of a new connection (None: kith), and the subprotocol to select.

    The first that is offered and known here decides, for it was asked for by name; else the path does.
    """
    for subprotocol in offered:
        if subprotocol in SUBPROTOCOLS:
            return SUBPROTOCOLS[subprotocol], subprotocol
    return (NOVA if path in NOVA_PATHS else None), None
