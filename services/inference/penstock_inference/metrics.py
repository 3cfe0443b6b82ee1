"""What a pod tells Prometheus."""

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
    """Adds up the time in which at least one executor ran; overlapping runs count once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0

    def add(self, started: float, seconds: float) -> None:
        """A run that ended just now.

        Runs are told in the order of their ends, so what lies before ``_until`` was counted.
        """
        with self._lock:
            end = started + seconds
            BUSY.inc(max(0.0, end - max(started, self._until)))
            self._until = max(self._until, end)


@dataclass(slots=True)
class Gauges:
    """The series of one model version."""

    batch_rows: Histogram
    queue_seconds: Histogram
    execute_seconds: Histogram
    queue_rows: Gauge
    busy: BusyTime


_busy = BusyTime()


def gauges(model: str, version: int) -> Gauges:
    return Gauges(
        BATCH_ROWS.labels(model),
        QUEUE_SECONDS.labels(model),
        EXECUTE_SECONDS.labels(model),
        QUEUE_ROWS.labels(model, str(version)),
        _busy,
    )
