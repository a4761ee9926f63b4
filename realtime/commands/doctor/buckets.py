"""Which limits hold for whom, and what each does when it cannot be kept."""

from realtime.commands.doctor.report import Rows
from realtime.limits import limiter_options
from realtime.settings import Settings


def limit_rows(settings: Settings) -> Rows:
    rows = []
    for limit, spec in limiter_options(settings).limits.items():
        pace = f"{spec.rate.capacity:g} at once, {spec.rate.per_second * 60:g} a minute"
        rows.append((limit.value, f"{pace}; fails {spec.when_full}; {spec.after_crash:.0%} full after a crash"))
    exempt = ", ".join(settings.rate_limit_exempt_nets) or "nobody"
    return [*rows, ("exempt", exempt)]
