"""Every number that a part of the node counts is a metric: an exception that only a counter saw was seen by nobody."""

import inspect

from actors.metrics import Metrics
from realtime.exposition import JOURNAL_TEXTS, expose_gateway
from realtime.gateway.counters import GatewayCounters
from realtime.gateway.gateway import Gateway
from realtime.protocol_tables import EVENTS
from storage.journal.counters import JournalCounters


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


def test_the_page_names_the_code_that_a_stopping_node_closes_with() -> None:
    code = inspect.signature(Gateway.going_away).parameters["code"].default
    assert f"closed with {int(code)}" in EVENTS["going_away"][1]
