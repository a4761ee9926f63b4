"""The page of a benchmark: one file that needs no network, readable on light and on dark paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from loadtest.plots import Series, distribution, over_time

if TYPE_CHECKING:
    from loadtest.bench import Result
    from loadtest.jobs import Measured

STYLE: Final = """
:root{color-scheme:light dark;--paper:#f6f7f9;--card:#fff;--ink:#1a2130;--soft:#5b6575;--grid:#e3e7ee;
--a:#2563eb;--b:#c2570c;--c:#0d8a5f;--d:#8b3fd1;--good:#0d8a5f;--bad:#c02626}
@media(prefers-color-scheme:dark){:root{--paper:#11151c;--card:#1a2029;--ink:#e6eaf1;--soft:#9aa5b5;--grid:#2b3340;
--a:#6ea8ff;--b:#f5a35c;--c:#4fd1a1;--d:#c79bff;--good:#4fd1a1;--bad:#ff8080}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1220px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 2px}
h2{font-size:18px;margin:34px 0 10px}p{margin:6px 0;color:var(--soft);max-width:80ch}
.tiles,.charts{display:grid;gap:14px;margin-top:16px}
.tiles{grid-template-columns:repeat(auto-fit,minmax(200px,1fr))}
.charts{grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr))}
.tile,figure,.card{background:var(--card);border:1px solid var(--grid);border-radius:10px;padding:14px 16px;margin:0}
.tile b{display:block;font-size:27px;line-height:1.2;font-variant-numeric:tabular-nums}.tile span{color:var(--soft)}
.tile em{display:block;font-style:normal;font-size:13px}.good{color:var(--good)}.bad{color:var(--bad)}
figcaption{display:flex;flex-wrap:wrap;gap:4px 10px;align-items:baseline}.unit{color:var(--soft)}
.legend{margin-left:auto}.key{margin-left:12px;font-size:13px;color:var(--soft);white-space:nowrap}
.key i{display:inline-block;width:14px;height:3px;margin:0 5px 3px 0;border-radius:2px}
i.a{background:var(--a)}i.b{background:var(--b)}i.c{background:var(--c)}i.d{background:var(--d)}
svg{display:block;width:100%;height:auto;margin-top:8px}.grid{stroke:var(--grid);fill:none}
.tick{fill:var(--soft);font:12px system-ui,sans-serif}.end{text-anchor:end}.mid{text-anchor:middle}
.line{fill:none;stroke-width:2;stroke-linejoin:round}.line.a{stroke:var(--a)}.line.b{stroke:var(--b)}
.line.c{stroke:var(--c)}.line.d{stroke:var(--d)}
.card{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th{white-space:normal;vertical-align:bottom}
th{color:var(--soft);font-weight:500}th:first-child,td:first-child{text-align:left}tr:last-child td{border:0}
details{margin-top:12px}summary{cursor:pointer;color:var(--soft)}td.wide{white-space:normal;text-align:left}
"""
AIM: Final = 15_000
IDLE_AIM: Final = 8_192
SHORTEST_STEP_SECONDS: Final = 0.2  # the kernel counts processor time in hundredths
Column = tuple[str, "Callable[[Measured], str]"]


def _figures() -> list[Column]:
    def latency(key: str) -> Callable[[Measured], str]:
        return lambda one: f"{one.report['delivery'][key]:.1f}"

    return [
        ("", lambda one: one.job.name),
        ("delivered /s", lambda one: f"{one.report['delivered_per_second']:,.0f}"),
        *((f"{key.removesuffix('_ms')} ms", latency(key)) for key in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
        ("server ms per 1,000", lambda one: f"{one.cost.server_ms_per_1000:.1f}"),
        ("database ms per 1,000", lambda one: f"{one.cost.database_ms_per_1000:.1f}"),
        ("cores: server", lambda one: f"{one.cost.server_cores:.2f}"),
        ("database", lambda one: f"{one.cost.database_cores:.2f}"),
        ("clients", lambda one: f"{one.cost.clients_cores:.2f}"),
    ]


ACCOUNTS: Final = (
    "sent", "acknowledged", "received", "lost", "acknowledged_lost", "unacknowledged", "received_twice",
    "acknowledged_twice", "out_of_order", "reordered", "seq_missing", "refused",
)  # fmt: skip


def render(result: Result) -> str:
    jobs = {one.job.name: one for one in result.jobs}
    chats = [one for one in result.jobs if one.job.mode != "idle"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Kith {escape(result.commit)}</title><style>{STYLE}</style><main>"
        f"<h1>Kith, measured</h1><p>{escape(result.at)} · commit {escape(result.commit)} · {_machine(result)}, shared"
        f" by server, PostgreSQL and clients · <code>{escape(result.command)}</code></p>"
        f'<div class="tiles">{_tiles(jobs)}</div>'
        f"<h2>Figures</h2>{_table(_figures(), chats)}"
        "<p>A message counts when it is committed, acknowledged and received by the other user. Latency is from when"
        " it was due (open loop) or sent (closed loop) to its delivery. Cost is processor time.</p>"
        f"{''.join(_charts(one) for one in chats)}{_compared(chats)}"
        f"<h2>Accounts</h2>{_accounts(chats)}{_problems(result)}"
        f"<h2>In force</h2>{_in_force(result)}</main></html>\n"
    )


def _machine(result: Result) -> str:
    return f"{escape(str(result.machine['processor']))}, {result.machine['cores']} cores"


def _tile(value: str, words: str, note: str, reached: bool | None = None) -> str:
    tone = "" if reached is None else ' class="good"' if reached else ' class="bad"'
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(words)}</span><em{tone}>{escape(note)}</em></div>'


def _tiles(jobs: dict[str, Measured]) -> str:
    closed, opened, idle = jobs["B1 closed"], jobs["B1 open"], jobs["idle"]
    rate = closed.report["delivered_per_second"]
    cost = closed.cost.server_ms_per_1000 + closed.cost.database_ms_per_1000
    per_connection = idle.bytes_per_connection
    reached = rate >= AIM
    return (
        _tile(f"{rate:,.0f}/s", "durable messages delivered, 500 pairs", f"bar: {AIM:,}/s", reached)
        + _tile(f"{opened.report['delivery']['p95_ms']:.1f} ms", "p95 at 8,000 messages a second", "open loop")
        + _tile(f"{cost:.0f} ms", "server and database time per 1,000 messages", "at full load")
        + _tile(
            f"{per_connection / 1024:.1f} KB",
            f"of memory per idle connection, {idle.job.connections:,} of them",
            "bar: 8 KB",
            per_connection <= IDLE_AIM,
        )
        + _tile(f"{idle.report['connects_per_second']:,.0f}/s", "connections signed in", "two client processes")
    )


def _charts(one: Measured) -> str:
    slots = one.report["slots"]
    # In the warm-up nothing is measured, and nothing measured is not 0 ms.
    latency = [Series(name, [(s["at_seconds"], s[key]) for s in slots if s[key]]) for name, key in _PERCENTILES]
    cores = [_cores(one, part) for part in ("server", "database", "clients")]
    memory = [Series("server", [(s.at_seconds, s.server_rss_bytes / 1e6) for s in one.samples])]
    delivered = [
        Series(name, [(s["at_seconds"], s[key]) for s in slots])
        for name, key in (("received", "received_per_second"), ("sent", "sent_per_second"))
    ]
    return (
        f"<h2>{escape(one.job.name)} · {escape(one.transport)}</h2><p>{escape(one.job.title)}</p><div class='charts'>"
        + over_time("Delivered", "messages/s", delivered)
        + over_time("Delivery latency", "ms", latency)
        + over_time("Processor", "cores", cores)
        + over_time("Resident memory", "MB", memory)
        + "</div>"
    )


_PERCENTILES: Final = (("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"))


def _cores(one: Measured, part: str) -> Series:
    """From samples of time spent to cores busy between each two of them."""
    points = []
    for a, b in zip(one.samples, one.samples[1:], strict=False):
        seconds = b.at_seconds - a.at_seconds
        if seconds > SHORTEST_STEP_SECONDS:
            spent = getattr(b, part) - getattr(a, part)
            points.append((b.at_seconds, max(spent, 0.0) / seconds))  # a client that ended counts as nothing
    return Series(part, points)


def _compared(chats: list[Measured]) -> str:
    """A chart per number: B1's and B2's figures are a power of ten apart, and share no scale."""
    numbers = sorted({one.job.name.split()[0] for one in chats})
    charts = [
        distribution(
            number, [Series(one.job.name, one.distribution) for one in chats if one.job.name.startswith(number)]
        )
        for number in numbers
    ]
    return f"<h2>Distribution of delivery latency</h2><div class='charts'>{''.join(charts)}</div>"


def _table(columns: Sequence[Column], chats: list[Measured]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name, _ in columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(show(one))}</td>" for _, show in columns) + "</tr>" for one in chats)
    return f'<div class="card"><table><tr>{head}</tr>{rows}</table></div>'


def _accounts(chats: list[Measured]) -> str:
    def total(name: str) -> Callable[[Measured], str]:
        return lambda one: f"{one.report['totals'][name]:,}"

    named: list[Column] = [("", lambda one: one.job.name)]
    return _table([*named, *((name.replace("_", " "), total(name)) for name in ACCOUNTS)], chats)


def _problems(result: Result) -> str:
    if not result.problems:
        return '<p class="good">Every message sent was acknowledged once and received once, in order.</p>'
    return "".join(f'<p class="bad">{escape(problem)}</p>' for problem in result.problems)


def _in_force(result: Result) -> str:
    parts: list[tuple[str, dict[str, object]]] = [
        ("Machine", dict(result.machine)),
        ("Versions", dict(result.versions)),
        ("Database", {**result.database_settings, "unlogged tables": result.unlogged_tables}),
        ("Steps of one send", {f"{n}": step for n, step in enumerate(result.steps.get("epoll", []), 1)}),
        ("Node", {"workers": result.workers, "start seconds": result.start_seconds, **result.node_settings}),
    ]
    shown = []
    for title, values in parts:
        cells = ((escape(name), escape(str(value))) for name, value in values.items())
        rows = "".join(f'<tr><td>{name}</td><td class="wide">{value}</td></tr>' for name, value in cells)
        shown.append(f"<details><summary>{title}</summary><div class='card'><table>{rows}</table></div></details>")
    return "".join(shown)
