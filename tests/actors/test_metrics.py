"""The primitives, and what a scrape shows of them."""

import pytest

from actors.metrics import Counter, Family, Metrics, Spread


def shown(metrics: Metrics) -> list[str]:
    content_type, body = metrics.expose()
    assert content_type.startswith("text/plain")
    return [line for line in body.decode().splitlines() if not line.startswith("#")]


def test_what_moved_is_what_is_shown() -> None:
    metrics = Metrics()
    sent = metrics.counter("messages_total", "Messages")
    waiting = metrics.gauge("waiting", "Waiting")
    requests = metrics.counters("http_requests_total", "Requests", ("route", "code"))
    sent.value += 2
    sent.add()
    waiting.set(7)
    waiting.add(-2)
    requests.of("/users/{id}", "200").add(4)
    assert shown(metrics) == [
        "messages_total 3.0",
        'http_requests_total{code="200",route="/users/{id}"} 4.0',
        "waiting 5.0",
    ]
    assert metrics.value("messages_total") == 3
    assert metrics.value("http_requests_total", "/users/{id}", "200") == 4
    assert metrics.value("http_requests_total", "/users/{id}", "500") == 0
    assert metrics.names() == ["http_requests_total", "messages_total", "waiting"]


def test_a_spread_is_a_prometheus_histogram() -> None:
    metrics = Metrics("kith_")
    spread = metrics.spread("delivery_seconds", "From send to delivery", (0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3.0):
        spread.observe(value)
    assert shown(metrics) == [
        'kith_delivery_seconds_bucket{le="0.1"} 2.0',
        'kith_delivery_seconds_bucket{le="1.0"} 3.0',
        'kith_delivery_seconds_bucket{le="+Inf"} 4.0',
        "kith_delivery_seconds_count 4.0",
        "kith_delivery_seconds_sum 3.65",
    ]
    assert metrics.value("delivery_seconds") == 4


def test_quantiles_are_the_upper_bound_of_their_bucket() -> None:
    spread = Spread((1.0, 2.0, 3.0))
    assert spread.quantile(0.5) == 0.0
    for value in (0.5, 0.6, 1.5, 9.0):
        spread.observe(value)
    assert spread.quantile(0.5) == 1.0
    assert spread.quantile(0.75) == 2.0
    assert spread.quantile(0.99) == float("inf")


def test_callbacks_are_read_at_the_scrape_and_add_up() -> None:
    metrics = Metrics()
    depth = {("user",): 1.0}
    metrics.callbacks("actors", "Awake actors", ("kind",), depth.items)
    metrics.callbacks("actors", "Awake actors", ("kind",), lambda: [(("conversation",), 4.0), (("user",), 1.0)])
    metrics.callback("queue", "Queued", lambda: 2)
    depth["user",] = 5.0
    assert sorted(shown(metrics)) == [
        'actors{kind="conversation"} 4.0',
        'actors{kind="user"} 6.0',
        "queue 2.0",
    ]
    assert metrics.value("actors", "user") == 6.0
    assert metrics.value("queue") == 2.0


def test_a_callback_named_total_is_a_counter() -> None:
    metrics = Metrics()
    metrics.callback("accepted_total", "Accepted", lambda: 7)
    assert shown(metrics) == ["accepted_total 7.0"]
    assert "# TYPE accepted_total counter" in metrics.expose()[1].decode()


def test_the_same_name_is_the_same_metric_or_a_bug() -> None:
    metrics = Metrics()
    assert metrics.counter("a_total", "A") is metrics.counter("a_total", "A")
    with pytest.raises(ValueError, match="a_total exists"):
        metrics.gauge("a_total", "A")
    with pytest.raises(ValueError, match="a_total exists"):
        metrics.counters("a_total", "A", ("kind",))
    metrics.spread("s", "S", (1.0,))
    with pytest.raises(ValueError, match="s exists"):
        metrics.spread("s", "S", (2.0,))
    with pytest.raises(ValueError, match="_total"):
        metrics.counter("a", "A")
    with pytest.raises(KeyError):
        metrics.value("nobody")


def test_two_nodes_of_one_process_share_nothing() -> None:
    one, two = Metrics(process=True), Metrics(process=True)
    one.counter("a_total", "A").add()
    assert two.counter("a_total", "A").value == 0
    assert any(line.startswith("process_resident_memory_bytes") for line in shown(two))


def test_a_child_is_kept_per_label_values() -> None:
    family = Family(Counter)
    family.of("x").add()
    assert family.of("x").value == 1
    assert family.of("y").value == 0
