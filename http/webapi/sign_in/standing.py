"""Whether an account may come in: what a suspended user is told, and the end of a suspension whose time is over."""

from actors.appeal_tokens import AppealTokens
from actors.shapes.errors import ErrorCode, KithError
from actors.shapes.ids import UserId
from actors.shapes.moderation import Act, ActionId, Restore, StandingChanged
from actors.shapes.sign_in import ProveCode
from actors.shapes.times import iso
from webapi.call import Call


async def admit_suspended(call: Call, user: UserId, totp: str | None) -> None:
    """For a suspended user who has shown who he is but for his one-time code; returns when his time is over.

    Raises FORBIDDEN with everything he needs to know, and a token with which he can appeal though he is not signed in;
    before that whatever a login without or with a wrong code is refused with.
    """
    services = call.services
    suspension = await services.moderation.standing.suspension_of(user)
    if suspension is None:  # restored in this moment
        return
    until = suspension.until
    if until is not None and until <= call.now:
        by = Act(ActionId(services.new_id()), call.now, "time", None, call.request_id, call.address or None)
        changed: StandingChanged = await services.users.ask(user, Restore(by), services.options.ask_timeout)
        if changed.status == "active" or await services.moderation.standing.suspension_of(user) is None:
            return
    # Used up like a login's, so nobody hears it twice for one code. If he was restored since, he hears what was true a
    # moment ago and comes again: a login is opened by a code of its own and by nothing that was decided here.
    await services.users.ask(user, ProveCode(totp), services.options.ask_timeout)
    details = {"status": "suspended", "reason": suspension.reason, "until": None if until is None else iso(until)}
    if suspension.measure_id is not None:
        details["appeal_token"] = AppealTokens(services.seals).issue(user, suspension.measure_id, call.now)
    raise KithError(ErrorCode.FORBIDDEN, "This account is suspended", details=details)
