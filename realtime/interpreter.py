"""Stands between a transport and a session that speak different dialects, so that neither of them knows."""

from actors.metrics import Counter
from actors.shapes.frames import Frame
from realtime.dialects import Dialect
from realtime.link import Link, LostReason, Peer


class Words:
    """Puts frames into one dialect, each once however many connections it goes to: the result stays with the frame."""

    __slots__ = ("_made", "dialect")

    def __init__(self, dialect: Dialect, made: Counter) -> None:
        self.dialect = dialect
        self._made = made

    def __call__(self, frame: Frame) -> Frame:
        others = frame.others
        if others is None:
            others = frame.others = {}
        said = others.get(self.dialect.name)
        if said is None:
            payload = self.dialect.outward(frame.payload)
            # What may happen to it does not depend on its words: class, key and birth are those of the original.
            said = others[self.dialect.name] = Frame(payload, frame.frame_class, frame.key, frame.born)
            self._made.value += 1
        return said


class InterpretedLink:
    """The session's side: what it sends goes out in the words of the connection."""

    __slots__ = ("_link", "_words")

    def __init__(self, link: Link, words: Words) -> None:
        self._link = link
        self._words = words

    @property
    def remote(self) -> str:
        return self._link.remote

    @property
    def read_at(self) -> float:
        return self._link.read_at

    @property
    def queued_bytes(self) -> int:
        return self._link.queued_bytes

    def send(self, frame: Frame) -> None:
        self._link.send(self._words(frame))

    def close(self, code: int, reason: str = "", before: Frame | None = None) -> None:
        self._link.close(code, reason, before)  # the transport translates last words, for it has some of its own

    def authenticated(self) -> None:
        self._link.authenticated()


class InterpretedPeer:
    """The transport's side: what the client says reaches the session in its own words."""

    __slots__ = ("_dialect", "peer")

    def __init__(self, peer: Peer, dialect: Dialect) -> None:
        self.peer = peer
        self._dialect = dialect

    def text(self, payload: bytes) -> None:
        self.peer.text(self._dialect.inward(payload))

    def lost(self, reason: LostReason) -> None:
        self.peer.lost(reason)

    def idle_hello(self) -> None:
        self.peer.idle_hello()

    def drained(self) -> None:
        self.peer.drained()
