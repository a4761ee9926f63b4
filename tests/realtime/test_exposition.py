"""Every number that a part of the node counts is a metric: an exception that only a counter saw was seen by nobody."""

import inspect

from actors.metrics import Metrics
from actors.sweep_notices import SweepCounters
from realtime.exposition import BUS_TEXTS, JOURNAL_TEXTS, SWEEP_TEXTS, expose_bus, expose_gateway, expose_sweep
from realtime.gateway.counters import GatewayCounters
from realtime.gateway.gateway import Gateway
from realtime.protocol_tables import EVENTS
from storage.journal.counters import JournalCounters
from storage.redis.bus import BusCounters


def test_every_number_of_the_gateway_is_shown() -> None:
    metrics, counters = Metrics(), GatewayCounters()
    expose_gateway(metrics, counters)
    shown = {name.removeprefix("gateway_").removesuffix("_total") for name in metrics.names()}
    assert set(vars(counters)) - shown == set()
    counters.edge_errors = 3
    assert metrics.value("gateway_edge_errors_total") == 3.0


def test_every_number_of_the_journal_is_shown() -> None:
    # Messages have a metric of their own name.
    assert set(JournalCounters.__struct_fields__) - {"messages"} == set(JOURNAL_TEXTS)


def test_every_number_of_the_sweep_and_the_bus_is_shown() -> None:
    assert set(SweepCounters.__struct_fields__) == set(SWEEP_TEXTS)
    assert set(BusCounters.__struct_fields__) == set(BUS_TEXTS)
    metrics, swept, bus = Metrics(), SweepCounters(), BusCounters()
    expose_sweep(metrics, swept, lambda: 2.0)
    expose_bus(metrics, bus, lambda: 1.0)
    swept.events, bus.heard = 7, 5
    names = ("sweep_events_total", "nodes_beside", "bus_heard_total", "bus_connected")
    assert [metrics.value(name) for name in names] == [7.0, 2.0, 5.0, 1.0]


def test_the_page_names_the_code_that_a_stopping_node_closes_with() -> None:
    code = inspect.signature(Gateway.going_away).parameters["code"].default
    assert f"closed with {int(code)}" in EVENTS["going_away"][1]
