"""A decoder written once more, as plainly as RFC 6455 reads: it sees the whole stream at once and takes its time.

It shares no line with realtime/wire/frames.py, so what both agree on is not one mistake made twice.
"""

LIMIT = 256 * 1024

Told = tuple[str, bytes | int]


def decode_all(stream: bytes, limit: int = LIMIT) -> list[Told]:
    """Everything a server may tell of a client's stream: text, ping, pong, close, violation."""
    told: list[Told] = []
    message: bytes | None = None
    position = 0
    while len(rest := stream[position:]) >= 2:
        first, length = rest[0], rest[1] % 128
        opcode, fin = first % 16, first >= 128
        fault = _fault(first, masked=rest[1] >= 128, length=length, within=message is not None)
        if fault:
            return [*told, ("violation", fault)]
        header = {126: 4, 127: 10}.get(length, 2)
        if len(rest) < header:
            return told
        if header > 2:
            length = int(rest[2:header].hex(), 16)
            if not {4: 126, 10: 65536}[header] <= length < 2**63:
                return [*told, ("violation", 1002)]
        if length + (0 if opcode > 7 or message is None else len(message)) > limit:
            return [*told, ("violation", 1009)]
        if len(rest) < header + 4 + length:
            return told
        mask = rest[header : header + 4]
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(rest[header + 4 : header + 4 + length]))
        position += header + 4 + length
        if opcode == 8:
            return [*told, _close(payload)]
        if opcode > 8:
            told.append(("ping" if opcode == 9 else "pong", payload))
            continue
        message = payload if message is None else message + payload
        if not _may_be_text(message, whole=fin):
            return [*told, ("violation", 1007)]
        if fin:
            told.append(("text", message))
            message = None
    return told


def _fault(first: int, *, masked: bool, length: int, within: bool) -> int:
    """The close code for what the first two bytes do wrong, 0 for nothing."""
    opcode = first % 16
    if first // 16 % 8 != 0 or opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15) or not masked:
        return 1002
    if opcode > 7 and (first < 128 or length > 125):
        return 1002
    if (opcode == 0 and not within) or (opcode in (1, 2) and within):
        return 1002
    return 1003 if opcode == 2 else 0


def _may_be_text(data: bytes, *, whole: bool) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return not whole and error.reason == "unexpected end of data"
    return True


def _close(payload: bytes) -> Told:
    if payload == b"":
        return "close", 1005
    if len(payload) == 1:
        return "violation", 1002
    code = payload[0] * 256 + payload[1]
    if code not in {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}:
        return "violation", 1002
    return ("close", code) if _may_be_text(payload[2:], whole=True) else ("violation", 1007)
