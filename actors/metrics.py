"""The numbers a node shows at `/metrics`; the one module that knows prometheus_client.

Counters and spreads are plain Python numbers, because the library's own take a lock and 0.7 us per step and one message
moves a dozen of them; they become samples only when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

# 1 ms to 10 s: an answer below a millisecond is as good as another, one above ten seconds as bad.
LATENCY_BOUNDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
SIZE_BOUNDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


class Counter:
    """Only ever rises. A hot path may write `counter.value += 1` itself."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Gauge:
    """Whatever was set last."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def set(self, value: float) -> None:
        self.value = value

    def add(self, amount: float = 1) -> None:
        self.value += amount


class Spread:
    """A histogram: how many observations fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = LATENCY_BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # the last one is everything above the last bound
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile(self, share: float) -> float:
        """The upper bound of the bucket that holds this quantile; 0.0 when nothing was observed."""
        wanted = share * self.count
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen and seen >= wanted:
                return bound
        return float("inf") if self.counts[-1] else 0.0


M = TypeVar("M", Counter, Gauge, Spread)


class Family(Generic[M]):
    """One metric with labels; `of` gives the child of these values, which a hot path keeps."""

    __slots__ = ("_children", "_make")

    def __init__(self, make: Callable[[], M]) -> None:
        self._make: Callable[[], M] = make
        self._children: dict[tuple[str, ...], M] = {}

    def of(self, *values: str) -> M:
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make()
        return child

    def get(self, values: tuple[str, ...], absent: M) -> M:
        """The child without making it."""
        return self._children.get(values, absent)

    def items(self) -> list[tuple[tuple[str, ...], M]]:
        return list(self._children.items())


Reading = Iterable[tuple[tuple[str, ...], float]]
Shape = tuple[str, tuple[str, ...], tuple[float, ...]]


class Metrics(Collector):
    """All metrics of one node; made per node and handed on, so that two nodes of a test share nothing.

    Asking twice for the same name gives the same metric, for parts of which a node has several; asking
    for another kind, other labels or other bounds under a name that exists is a bug and raises.
    """

    def __init__(self, prefix: str = "", process: bool = False) -> None:
        self._prefix = prefix
        self._shapes: dict[str, Shape] = {}
        self._texts: dict[str, str] = {}
        self._counters: dict[str, Family[Counter]] = {}
        self._gauges: dict[str, Family[Gauge]] = {}
        self._spreads: dict[str, Family[Spread]] = {}
        self._callbacks: dict[str, list[Callable[[], Reading]]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        if process:
            ProcessCollector(registry=self._registry)

    def counter(self, name: str, text: str) -> Counter:
        return self.counters(name, text, ()).of()

    def counters(self, name: str, text: str, labels: tuple[str, ...]) -> Family[Counter]:
        """A counter per combination of label values; the name ends in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"the counter {name} does not end in _total")
        self._declare(name, text, ("counter", labels, ()))
        return self._counters.setdefault(name, Family(Counter))

    def gauge(self, name: str, text: str) -> Gauge:
        return self.gauges(name, text, ()).of()

    def gauges(self, name: str, text: str, labels: tuple[str, ...]) -> Family[Gauge]:
        self._declare(name, text, ("gauge", labels, ()))
        return self._gauges.setdefault(name, Family(Gauge))

    def spread(self, name: str, text: str, bounds: Sequence[float] = LATENCY_BOUNDS) -> Spread:
        return self.spreads(name, text, (), bounds).of()

    def spreads(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        bounds: Sequence[float] = LATENCY_BOUNDS,
    ) -> Family[Spread]:
        self._declare(name, text, ("spread", labels, tuple(bounds)))
        return self._spreads.setdefault(name, Family(lambda: Spread(bounds)))

    def callback(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read at each scrape; several callbacks of one name add up."""
        self.callbacks(name, text, (), lambda: [((), read())])

    def callbacks(self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Reading]) -> None:
        """The same with labels: (label values, number) pairs."""
        self._declare(name, text, ("callback", labels, ()))
        self._callbacks.setdefault(name, []).append(read)

    def names(self) -> list[str]:
        return sorted(self._shapes)

    def value(self, name: str, *labels: str) -> float:
        """What a counter, gauge or callback shows now, or how often a spread observed; 0.0 when it never moved."""
        if name in self._counters:
            return self._counters[name].get(labels, Counter()).value
        if name in self._gauges:
            return self._gauges[name].get(labels, Gauge()).value
        if name in self._spreads:
            return float(self._spreads[name].get(labels, Spread()).count)
        return self._read(name).get(labels, 0.0)

    def expose(self) -> tuple[str, bytes]:
        """(content type, body) of the Prometheus text format."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """One family per metric, as the registry asks for them at a scrape."""
        for name, family in self._counters.items():
            yield self._risen_family(name, {k: c.value for k, c in family.items()})
        for name, gauges in self._gauges.items():
            yield self._gauge_family(name, {k: g.value for k, g in gauges.items()})
        for name in self._callbacks:
            # Somebody else's plain integer that only rises is a counter all the same.
            shown = self._risen_family if name.endswith("_total") else self._gauge_family
            yield shown(name, self._read(name))
        for name, spreads in self._spreads.items():
            yield self._spread_family(name, spreads)

    def _declare(self, name: str, text: str, shape: Shape) -> None:
        if self._shapes.setdefault(name, shape) != shape:
            raise ValueError(f"the metric {name} exists as {self._shapes[name]}, not as {shape}")
        self._texts.setdefault(name, text)

    def _read(self, name: str) -> dict[tuple[str, ...], float]:
        total: dict[tuple[str, ...], float] = {}
        for read in self._callbacks[name]:
            for labels, value in read():
                total[labels] = total.get(labels, 0.0) + value
        return total

    def _risen_family(self, name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
        shown = CounterMetricFamily(self._prefix + name, self._texts[name], labels=self._shapes[name][1])
        for labels, value in values.items():
            shown.add_metric(labels, value)
        return shown

    def _gauge_family(self, name: str, values: Mapping[tuple[str, ...], float]) -> Metric:
        shown = GaugeMetricFamily(self._prefix + name, self._texts[name], labels=self._shapes[name][1])
        for labels, value in values.items():
            shown.add_metric(labels, value)
        return shown

    def _spread_family(self, name: str, family: Family[Spread]) -> Metric:
        shown = HistogramMetricFamily(self._prefix + name, self._texts[name], labels=self._shapes[name][1])
        for labels, spread in family.items():
            buckets, below = [], 0
            for bound, count in zip((*spread.bounds, float("inf")), spread.counts, strict=True):
                below += count
                buckets.append(("+Inf" if bound == float("inf") else repr(bound), below))
            shown.add_metric(labels, buckets, sum_value=spread.sum)
        return shown
