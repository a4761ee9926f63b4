"""What a field of the document is beyond its type: which text an id or a moment is, which words can occur, how long
a text may be."""

from collections.abc import Sequence
from typing import Any, Final

from actors.rules.accounts import PASSWORD_LONGEST_BYTES, PASSWORD_SHORTEST
from actors.shapes.messages import TEXT_LIMIT
from actors.shapes.moderation import APPEAL_TEXT_LIMIT, MEASURES, REASON_LIMIT, REPORT_TEXT_LIMIT

UUID_PATTERN: Final = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"

# What ends in `_id` or is called `id` is a UUID, and these are, too; but not those: names that others gave.
_UUIDS: Final = frozenset({"id", "reply_to", "deleted_by", "mentions", "after", "idempotency_key", "initial_members"})
_NO_UUIDS: Final = frozenset({"request_id", "device_id", "sender_key_id"})
_MOMENTS: Final = frozenset({"at", "until", "timestamp"})

_WORDS: Final[dict[str, Sequence[str]]] = {
    "role": ("admin", "member", "owner"),
    "Measure.action": MEASURES,
    "Measure.target_kind": ("message", "user"),
}
# In words, and no maxLength: what is counted is the text as it is kept, and a client need not send it in that form.
_PASSWORD: Final = f"At least {PASSWORD_SHORTEST} characters and at most {PASSWORD_LONGEST_BYTES:,} bytes, in NFC"
_LENGTHS: Final = {
    "NewMessage.text": f"1 to {TEXT_LIMIT:,} characters, in NFC",
    "NewReport.text": f"At most {REPORT_TEXT_LIMIT:,} characters, in NFC and without the space around them",
    "NewAppeal.text": f"1 to {APPEAL_TEXT_LIMIT:,} characters, in NFC and without the space around them",
    "DecideOnReport.note": f"1 to {REASON_LIMIT:,} characters, in NFC and without the space around them",
    "DecideOnAppeal.note": f"1 to {REASON_LIMIT:,} characters, in NFC and without the space around them",
    "SuspendUser.reason": f"1 to {REASON_LIMIT:,} characters, in NFC and without the space around them",
    "WithReason.reason": f"At most {REASON_LIMIT:,} characters, in NFC and without the space around them",
    "Registration.password": _PASSWORD,
    "NewPassword.new_password": _PASSWORD,
}

# A document is made of dictionaries by definition; they leave this package as bytes only.
Json = dict[str, Any]


def described(struct: str, field: str, schema: Json) -> Json:
    """The schema of this field of this struct, with what its name says."""
    whole = f"{struct}.{field}"
    words = _WORDS.get(whole) or _WORDS.get(field)
    if words is not None:
        schema = {**_refined(schema, {"type": "string"}), "enum": sorted(words)}
    elif field not in _NO_UUIDS and (field in _UUIDS or field.endswith(("_id", "_ids"))):
        schema = _refined(schema, {"format": "uuid", "pattern": UUID_PATTERN})
    elif field in _MOMENTS or field.endswith(("_at", "_until")):
        schema = _refined(schema, {"format": "date-time"})
    return {**schema, "description": _LENGTHS[whole]} if whole in _LENGTHS else dict(schema)


def _refined(schema: Json, format: Json) -> Json:
    if schema.get("type") == "string":
        return {**schema, **format}
    if schema.get("type") == "array":
        return {**schema, "items": _refined(schema["items"], format)}
    if "anyOf" in schema:
        return {**schema, "anyOf": [_refined(choice, format) for choice in schema["anyOf"]]}
    return dict(schema)
