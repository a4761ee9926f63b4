"""Log lines: one JSON object each on stderr, with the name of the request they belong to.

They never show content, tokens, passwords or e-mails: fields that could are withheld by their name, texts are cleaned
of what looks like one, and an exception that is none of ours tells its type and its place but not its words.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, TextIO

from actors.journey import request_id

# What every record carries by itself; all the rest was given as `extra` and belongs into the line.
USUAL: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
WITHHELD: Final = "[withheld]"
_PRIVATE_FIELD: Final = re.compile(
    r"pass(word|phrase)?$|secret|token|authori[sz]ation|cookie|e?mail|text|content|body|payload|bio$|ciphertext|address$"
    r"|display_name|user_agent",
    re.IGNORECASE,
).search
_PRIVATE_TEXT: Final = (
    (re.compile(r"://[^\s/@]+@"), "://[withheld]@"),  # user and password of a URL, before they look like an e-mail
    (re.compile(r"[^\s@\"'<>(),;]+@[^\s@\"'<>(),;]+\.[^\s@\"'<>(),;]+"), "[e-mail]"),
    (re.compile(r"[\w-]{16,}\.[\w-]{16,}\.[\w-]{16,}|(?<![\w/-])[\w-]{40,}(?![\w/.-])"), "[token]"),
    (re.compile(r"\$argon2\S+"), "[hash]"),
)
# Whoever raises these writes their words without content, because they are shown to clients or operators anyway.
_OURS: Final = frozenset({"actors", "realtime", "storage", "webapi"})
_SHOWN_OF_GROUP: Final = 5
_SHOWN_OF_CHAIN: Final = 5


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message first, then the fields by name."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": cleaned(record.getMessage()),
        }
        name = request_id.get()
        if name is not None:
            line["request_id"] = name
        for field, value in vars(record).items():
            if field not in USUAL:
                line[field] = WITHHELD if _PRIVATE_FIELD(field) else _cleaned_value(value)
        if record.exc_info and record.exc_info[1] is not None:
            line["trace"] = "\n".join(told(record.exc_info[1]))
        # ASCII: a terminal without a locale, or half a character from somewhere, must not cost the line.
        return json.dumps(line)


def cleaned(text: str) -> str:
    """The text without what looks like a credential or an e-mail."""
    for pattern, instead in _PRIVATE_TEXT:
        text = pattern.sub(instead, text)
    return text


def told(error: BaseException, chain: int = _SHOWN_OF_CHAIN) -> Iterator[str]:
    """Where it happened, what it was and what came before it."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and chain:
        yield from told(before, chain - 1)
        yield "then:"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} {frame.name}: {frame.line}"
    yield _headline(error)
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions[:_SHOWN_OF_GROUP]:
            yield from (f"  | {line}" for line in told(inner, chain))


def _headline(error: BaseException) -> str:
    kind = type(error)
    if isinstance(error, OSError) or kind.__module__.partition(".")[0] in _OURS:
        return f"{kind.__name__}: {cleaned(str(error))}"
    return kind.__name__  # its words may quote what somebody wrote: KeyError('…'), invalid literal: '…'


def _cleaned_value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned_value(item) for item in value]
    if isinstance(value, dict):
        return {
            str(name): WITHHELD if _PRIVATE_FIELD(str(name)) else _cleaned_value(item) for name, item in value.items()
        }
    if isinstance(value, BaseException):
        return _headline(value)
    return cleaned(str(value))


def log_to(stream: TextIO = sys.stderr, level: str = "info") -> None:
    """Send everything, also what libraries log, to one stream."""
    # Nobody reads them, and they are a third of a record's cost.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.captureWarnings(True)
    # One line for each request that we send, with its whole address: a sign-in's holds the code it came with.
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
