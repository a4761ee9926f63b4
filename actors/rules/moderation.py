"""What fits together in moderation: decisions and what was reported, reasons and their length."""

from actors.rules.texts import check_text, composed
from actors.shapes.errors import ErrorCode, KithError, invalid
from actors.shapes.moderation import REASON_LIMIT, AdminReport, Decision


def check_decision(report: AdminReport, decision: Decision) -> None:
    """Raise IDEMPOTENCY_CONFLICT for a report that is decided, INVALID_PAYLOAD for a decision that cannot be."""
    if report.status != "open":
        raise decided_already(report.status)
    if decision == "remove_content" and report.kind != "message":
        raise invalid("decision", f"A {report.kind} cannot be removed; `warn` or `suspend_user` fit")
    if decision in ("suspend_user", "warn") and report.user_id is None:
        raise invalid("decision", "No single user stands behind what was reported")


def decided_already(status: str) -> KithError:
    """The second of two decisions: it did nothing, the first one stands."""
    return KithError(ErrorCode.IDEMPOTENCY_CONFLICT, "This is decided already", details={"status": status})


def check_reason(text: str, field: str, limit: int = REASON_LIMIT) -> str:
    """The text as it is kept: in NFC, without the space around it, and not empty."""
    kept = composed(text.strip(), limit).strip()
    check_text(kept, limit, field)
    return kept
