"""The metrics that Prometheus reads from ``/metrics``."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tmon.db.identity import log_of
from tmon.store.messages import Failure, Reply

COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # SSD to card
COMMIT_READINGS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
RENDERED_S = 1.0  # rendering blocks the event loop for a millisecond; Prometheus asks every 15 s

disable_created_metrics()  # type: ignore[no-untyped-call]  # each would double the series


class Metrics(Collector):
    """Counts responses and readings since the start.

    Args:
        db: the database file; its write-ahead log is beside it.
        backlog: how many readings wait for their commit.
        oldest_waiting_s: how long the oldest of them has waited.
        clock: seconds.
    """

    def __init__(
        self,
        db: Path,
        backlog: Callable[[], int],
        oldest_waiting_s: Callable[[], float],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._wal = log_of(db)
        self._backlog = backlog
        self._oldest_waiting_s = oldest_waiting_s
        self._clock = clock
        self._rendered = b""
        self._render_again_s = -math.inf  # on the clock
        self._answers: Counter[int] = Counter()
        self._readings: Counter[str] = Counter(accepted=0, duplicate=0, rejected=0)
        self._reasons: Counter[str] = Counter()
        self._wires: Counter[tuple[str, str]] = Counter()
        self._registry = CollectorRegistry()
        self._commit_seconds = Histogram(
            "tmon_commit_duration_seconds",
            "From the begin of a transaction until it is on the disk.",
            buckets=COMMIT_SECONDS,
            registry=self._registry,
        )
        self._commit_readings = Histogram(
            "tmon_commit_readings",
            "Readings in a transaction, the refused ones included.",
            buckets=COMMIT_READINGS,
            registry=self._registry,
        )
        self._registry.register(self)

    def answered(self, status: int) -> None:
        """Count a response."""
        self._answers[status] += 1

    def wire_answered(self, wire: str, outcome: str) -> None:
        """Count a request on another wire than ours: ``stored``, or an error's code."""
        self._wires[wire, outcome] += 1

    def committed(self, reply: Reply) -> None:
        """Count the receipts and the transaction of one reply of the writer."""
        receipts = [one for _, one in reply.results if not isinstance(one, Failure)]
        rejected = [each.code for one in receipts if one.rejected for each in one.rejected]
        self._readings["accepted"] += sum([one.accepted for one in receipts])
        self._readings["duplicate"] += sum([one.duplicates for one in receipts])
        self._readings["rejected"] += len(rejected)
        self._reasons.update(rejected)
        if reply.readings:
            self._commit_seconds.observe(reply.took_s)
            self._commit_readings.observe(reply.readings)

    def collect(self) -> Iterator[Metric]:
        """Called by prometheus-client: the counters and gauges as they are now."""
        try:
            wal_bytes = self._wal.stat().st_size
        except FileNotFoundError:
            wal_bytes = 0
        yield _counter(
            "tmon_http_requests", "Requests by the status answered.", "status", self._answers
        )
        yield _counter(
            "tmon_readings", "Readings by what became of them.", "outcome", self._readings
        )
        yield _counter("tmon_rejections", "Rejected readings by reason.", "code", self._reasons)
        wires = CounterMetricFamily(
            "tmon_wire_requests", "Requests of other wires.", labels=["wire", "outcome"]
        )
        for labels, count in sorted(self._wires.items()):
            wires.add_metric(labels, count)
        yield wires
        yield GaugeMetricFamily(
            "tmon_backlog_readings", "Readings that wait for their commit.", self._backlog()
        )
        yield GaugeMetricFamily(
            "tmon_oldest_waiting_seconds",
            "How long the oldest of them has waited; over 10 nothing is committed.",
            self._oldest_waiting_s(),
        )
        yield GaugeMetricFamily("tmon_wal_bytes", "Size of SQLite's write-ahead log.", wal_bytes)

    def render(self) -> bytes:
        """Everything in Prometheus' text format, at most a second old."""
        if self._clock() >= self._render_again_s:
            self._rendered = generate_latest(self._registry)
            self._render_again_s = self._clock() + RENDERED_S
        return self._rendered


def _counter(name: str, about: str, label: str, counts: Counter[str] | Counter[int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([str(value)], count)
    return family
