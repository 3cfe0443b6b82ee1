"""The pod's Prometheus series. ``/metrics`` serves them; the autoscaler scales on BUSY and QUEUE_SECONDS."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

REQUESTS = Counter(
    "penstock_inference_requests_total", "Messages answered, by gRPC status.", ["model", "version", "code"]
)
BATCH_ROWS = Histogram(
    "penstock_inference_batch_rows", "Rows of one run.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
QUEUE_SECONDS = Histogram(
    "penstock_inference_queue_seconds", "Time a message waited for the executor.", ["model"], buckets=_SECONDS
)
EXECUTE_SECONDS = Histogram(
    "penstock_inference_execute_seconds", "Time of one run, pre-processing included.", ["model"], buckets=_SECONDS
)
QUEUE_ROWS = Gauge("penstock_inference_queue_rows", "Rows that wait for the executor.", ["model", "version"])
LOADED = Gauge("penstock_inference_models_loaded", "Model versions that are loaded and warm.")
LOAD_FAILURES = Counter("penstock_inference_load_failures_total", "Loads that failed.", ["model"])
BUSY = Counter(
    "penstock_inference_executor_busy_seconds_total",
    "Wall time in which any model ran; its rate is the pod's executor utilisation.",
)


class BusyTime:
    """Adds the time in which at least one model ran to ``BUSY``; overlapping runs count once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted_until = 0.0

    def add(self, started: float, seconds: float) -> None:
        """Count a run that has just ended; ``started`` is in seconds of ``time.perf_counter()``.

        Runs are added in the order in which they end, so the time before ``_counted_until`` is already counted.
        """
        with self._lock:
            end = started + seconds
            BUSY.inc(max(0.0, end - max(started, self._counted_until)))
            self._counted_until = max(self._counted_until, end)


@dataclass(frozen=True, slots=True)
class VersionMetrics:
    """The series of one model version, with their labels set."""

    batch_rows: Histogram
    queue_seconds: Histogram
    execute_seconds: Histogram
    queue_rows: Gauge
    busy: BusyTime


_pod_busy_time = BusyTime()


def version_metrics(model: str, version: int) -> VersionMetrics:
    return VersionMetrics(
        BATCH_ROWS.labels(model),
        QUEUE_SECONDS.labels(model),
        EXECUTE_SECONDS.labels(model),
        QUEUE_ROWS.labels(model, str(version)),
        _pod_busy_time,
    )
