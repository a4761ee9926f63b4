import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest import bench, page
from loadtest.jobs import Cost, Job, Measured
from loadtest.ledger import Totals
from loadtest.plots import linear, logarithmic, nines
from loadtest.steps import BLOCKS, STEPS_OF_A_SEND
from loadtest.usage import Sample


def measured(job: Job, **report: Any) -> Measured:
    percentiles = ("p50_ms", "p95_ms", "p99_ms")
    slots = [
        {"at_seconds": k / 2, "sent_per_second": 100.0, "received_per_second": 90.0 + k}
        | {name: k + place for place, name in enumerate(percentiles)}
        for k in range(8)
    ]
    latency = {"count": 9, "p50_ms": 1.5, "p95_ms": 7.25, "p99_ms": 9.0, "max_ms": 12.0}
    plain = {
        "delivered_per_second": 16_321.0, "connects_per_second": 4_000.0, "delivery": latency, "slots": slots,
        "problems": [], "totals": msgspec.to_builtins(Totals(sent=987_654)), **report,
    }  # fmt: skip
    cost = Cost(
        server_ms_per_1000=41.5, database_ms_per_1000=17.0, clients_ms_per_1000=9.0, server_cores=0.7,
        database_cores=0.3, clients_cores=0.2, server_rss_mb=90.0,
    )  # fmt: skip
    samples = [
        Sample(at_seconds=k / 2, server=k * 0.4, database=k * 0.1, clients=k * 0.05, server_rss_bytes=80_000_000 + k)
        for k in range(9)
    ]
    return Measured(
        job=job, transport="epoll", report=plain, distribution=[(0.5, 1.5), (0.95, 7.25), (1.0, 12.0)], cost=cost,
        samples=samples, rss_before_bytes=60_000_000, rss_connected_bytes=60_000_000 + 5_000 * job.connections,
    )  # fmt: skip


def result(**first: Any) -> bench.Result:
    scale = bench.Scale()
    jobs = [measured(job) for job in (*bench.chat_jobs("B2", "portable", scale), bench.idle_jobs(scale)[1])]
    chats = [measured(job, **first) for job in bench.chat_jobs("B1", "epoll", scale)]
    return bench.Result(
        at="2026-11-20T10:00:00Z", commit="0123456789", command="make bench", unlogged_tables=0, workers=1,
        machine={"processor": "<chip> & co", "cores": 2}, versions={"python": "3.11.7"}, start_seconds=2.5,
        node_settings={"JWT_SECRET": "(set)"}, database_settings={"fsync": "on"}, jobs=chats + jobs,
        steps={"epoll": list(STEPS_OF_A_SEND), "portable": list(STEPS_OF_A_SEND)},
    )  # fmt: skip


class Outline(HTMLParser):
    """Refuses tags that are not closed in order, and collects what would leave the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href"} & {name for name, _ in attrs}, f"{tag} fetches something"
        self.seen.append(tag)
        if tag not in ("meta", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("path", "polyline"), f"{tag} {attrs} is not of these plots"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_shows_the_figures_and_fetches_nothing() -> None:
    text = page.render(result())
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.seen.count("svg") == 4 * 4 + 2
    for figure in ("16,321/s", "7.2 ms", "58 ms", "4.9 KB", "987,654", "&lt;chip&gt; &amp; co"):
        assert figure in text, figure
    assert not [word for word in ("url(", "@import", "<script") if word in text]
    assert "prefers-color-scheme:dark" in text
    assert "nan" not in text.lower()


def test_every_point_lies_inside_its_plot() -> None:
    for points in re.findall(r'points="([^"]+)"', page.render(result())):
        for point in points.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 560
            assert 0 <= y <= 260


def test_accounts_that_are_not_in_order_are_said_on_the_page_and_by_the_exit() -> None:
    broken = result(problems=["3 lost"])
    assert broken.problems == ["B1 closed: 3 lost", "B1 open: 3 lost"]
    assert '<p class="bad">B1 closed: 3 lost</p>' in page.render(broken)
    lane = {"epoll": [step for step in STEPS_OF_A_SEND if step != BLOCKS]}
    assert msgspec.structs.replace(result(), steps=lane).problems == ["the epoll node did not take the steps of a send"]
    assert msgspec.structs.replace(result(), unlogged_tables=2).problems == ["2 tables are UNLOGGED"]


def test_the_result_file_is_small_and_reads_back(tmp_path: Path) -> None:
    written = bench.write(result(), tmp_path)
    assert written.name == "2026-11-20-0123456789.html"
    encoded = written.with_suffix(".json").read_bytes()
    assert len(encoded) < 100_000
    assert msgspec.json.decode(encoded, type=bench.Result) == result()


@pytest.mark.parametrize(("low", "high"), [(0, 0.7), (0, 16_321), (0, 3), (0, 99.99), (0, 1e-9)])
def test_a_linear_axis_covers_its_values_in_few_round_steps(low: float, high: float) -> None:
    axis = linear(low, high)
    assert 2 <= len(axis.ticks) <= 8
    assert axis.ticks[0][0] <= low
    assert axis.ticks[-1][0] >= high - 1e-9
    assert (axis.place(axis.ticks[0][0]), axis.place(axis.ticks[-1][0])) == pytest.approx((0.0, 1.0))


def test_other_axes_put_their_ends_at_the_ends() -> None:
    log = logarithmic(0.7, 430)
    assert (log.place(0.1), log.place(1000)) == pytest.approx((0.0, 1.0))
    assert [text for _, text in nines().ticks] == ["0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]
    assert nines().place(1.0) == 1.0
