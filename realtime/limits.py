"""The token buckets as the operator sets them; what each does when it cannot be kept is not for him to set."""

import math

import msgspec

from actors.limiter import DEFAULT_LIMITS, Limit, LimiterOptions
from actors.rules.bucket import Rate
from realtime.settings import Settings

MINUTE, FIVE_MINUTES, HOUR = 60.0, 300.0, 3_600.0


def part_of(rate: Rate, workers: int) -> Rate:
    """Rounded up, so that nobody is locked out altogether."""
    return Rate(math.ceil(rate.capacity / workers), rate.per_second / workers)


def limiter_options(settings: Settings) -> LimiterOptions:
    """Every limit with its rate out of the settings and its failing side out of the design.

    Each worker keeps buckets of its own. What protects passwords holds for all workers together, so each has a part of
    it; what protects the server is whole in each, because one connection is served by one worker and is to get what its
    user was promised (docs/decisions/0066).
    """
    rates = {
        Limit.REQUESTS: Rate(settings.rate_requests_burst, settings.rate_requests_per_minute / MINUTE),
        Limit.MESSAGES: Rate(settings.rate_messages_burst, settings.rate_messages_per_minute / MINUTE),
        Limit.REPORTS: Rate(settings.rate_reports_burst, settings.rate_reports_per_hour / HOUR),
        Limit.REGISTRATIONS: Rate(settings.rate_registrations_burst, settings.rate_registrations_per_hour / HOUR),
        Limit.LOGINS: Rate(settings.rate_logins_burst, settings.rate_logins_per_5_minutes / FIVE_MINUTES),
        Limit.UNAUTHENTICATED: Rate(
            settings.rate_unauthenticated_burst, settings.rate_unauthenticated_per_minute / MINUTE
        ),
    }
    specs = {limit: msgspec.structs.replace(DEFAULT_LIMITS[limit], rate=rate) for limit, rate in rates.items()}
    if settings.kith_workers > 1:
        for limit, spec in specs.items():
            if spec.when_full == "closed":
                specs[limit] = msgspec.structs.replace(spec, rate=part_of(spec.rate, settings.kith_workers))
    return LimiterOptions(limits=specs, exempt_nets=settings.rate_limit_exempt_nets)
