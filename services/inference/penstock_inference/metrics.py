"""The pod's Prometheus series. ``/metrics`` serves them; the autoscaler scales on BUSY and QUEUE_SECONDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

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
STREAMS = Gauge("penstock_inference_streams_open", "Streams that are open.", ["model", "version"])
FIRST_CHUNK_SECONDS = Histogram(
    "penstock_inference_first_chunk_seconds",
    "Time from a message to the first chunk of its stream, the wait for a place included.",
    ["model"],
    buckets=(*_SECONDS, 10, 30, 60),
)
STREAM_CHUNKS = Counter("penstock_inference_stream_chunks_total", "Chunks of streams that were read.", ["model"])
LOADED = Gauge("penstock_inference_models_loaded", "Model versions that are loaded and warm.")
STATE_SINCE = Gauge(
    "penstock_inference_version_state_since_seconds",
    "When a version came into the state that it is in, in seconds since 1970: loading, ready or unavailable.",
    ["model", "version", "state"],
)
LOAD_FAILURES = Counter("penstock_inference_load_failures_total", "Loads that failed.", ["model"])
PROCESS_BYTES = Gauge(
    "penstock_inference_process_resident_bytes",
    "Resident memory of a version's processes, what each shares with its framework's parent included.",
    ["model", "version"],
)
GPU_BYTES = Gauge(
    "penstock_inference_gpu_memory_bytes",
    "Memory of the GPU that a version's process held once it was loaded and tried; device is the GPU's name.",
    ["model", "version", "device"],
)
PARENT_BYTES = Gauge(
    "penstock_inference_parent_resident_bytes",
    "Resident memory of the process that has imported a framework and forks those of its versions.",
    ["framework"],
)
RESTARTS = Counter(
    "penstock_inference_process_restarts_total",
    "Processes of loaded versions that ended, by cause: a signal's name, exit, silent, hang, memory or protocol.",
    ["model", "cause"],
)
CONFINED = Gauge(
    "penstock_inference_confinement",
    "What the kernel has to confine models with; 0 if it lacks it. For Landlock the version of its interface.",
    ["feature"],
)
BUSY = Counter(
    "penstock_inference_executor_busy_seconds_total",
    "Wall time in which any model ran; its rate is the pod's executor utilisation.",
)

DEVICE_SECONDS = Counter(
    "penstock_inference_device_seconds_total",
    "Time of a model's runs on the pod's CPU or GPU, multiplied by the cores that a run takes.",
    ["model"],
)
DEVICE_WAIT_SECONDS = Counter(
    "penstock_inference_device_wait_seconds_total",
    "Time for which a model's batches waited until it was their turn on the CPU or GPU.",
    ["model"],
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


_pod_busy_time = BusyTime()


class StreamMetrics(NamedTuple):
    """The series of a version that streams, with their labels set."""

    first_chunk_seconds: Histogram
    chunks: Counter


class VersionMetrics:
    """The series of one model version, with their labels set."""

    def __init__(self, model: str, version: int) -> None:
        self._labels = (model, str(version))
        self._answered: dict[str, Counter] = {}
        self._queue_rows = QUEUE_ROWS.labels(*self._labels)
        self.batch_rows = BATCH_ROWS.labels(model)
        self.queue_seconds = QUEUE_SECONDS.labels(model)
        self.execute_seconds = EXECUTE_SECONDS.labels(model)
        self.device_seconds = DEVICE_SECONDS.labels(model)
        self.device_wait = DEVICE_WAIT_SECONDS.labels(model)
        self.busy = _pod_busy_time

    def follow_queue(self, waiting_rows: Callable[[], int]) -> None:
        """Let ``QUEUE_ROWS`` be what the function returns whenever it is read."""
        self._queue_rows.set_function(waiting_rows)

    def of_streams(self, open_streams: Callable[[], int]) -> StreamMetrics:
        """Return the series of a version that streams; ``STREAMS`` is what the function returns whenever it is read."""
        STREAMS.labels(*self._labels).set_function(open_streams)
        model = self._labels[0]
        return StreamMetrics(FIRST_CHUNK_SECONDS.labels(model), STREAM_CHUNKS.labels(model))

    def follow_process(self, resident_bytes: Callable[[], int]) -> None:
        """Let ``PROCESS_BYTES`` be what the function returns whenever it is read."""
        PROCESS_BYTES.labels(*self._labels).set_function(resident_bytes)

    def show_state(self, state: str) -> None:
        """Let ``STATE_SINCE`` show that the version has just come into a state."""
        STATE_SINCE.remove_by_labels({"model": self._labels[0], "version": self._labels[1]})
        STATE_SINCE.labels(*self._labels, state).set(time.time())

    def show_gpu(self, device: str, held_bytes: int) -> None:
        """Let ``GPU_BYTES`` show what a process of this version has just been found to hold."""
        GPU_BYTES.remove_by_labels({"model": self._labels[0], "version": self._labels[1]})
        GPU_BYTES.labels(*self._labels, device).set(held_bytes)

    def count_answer(self, code: str) -> None:
        """Count a message by the gRPC status of its answer."""
        series = self._answered.get(code)
        if series is None:
            series = self._answered[code] = REQUESTS.labels(*self._labels, code)
        series.inc()

    def remove(self) -> None:
        """Remove the series of this version from ``/metrics``; later counts are lost."""
        STATE_SINCE.remove_by_labels({"model": self._labels[0], "version": self._labels[1]})
        QUEUE_ROWS.remove(*self._labels)
        PROCESS_BYTES.remove(*self._labels)
        GPU_BYTES.remove_by_labels({"model": self._labels[0], "version": self._labels[1]})
        STREAMS.remove(*self._labels)
        for code in self._answered:
            REQUESTS.remove(*self._labels, code)


def count_unknown_answer(code: str) -> None:
    """Count a message whose model or version is not here: as a label its name would add series without bound."""
    REQUESTS.labels("", "", code).inc()


def remove_model_series(model: str) -> None:
    """Remove the series of a model of which no version is here any more."""
    for metric in (
        BATCH_ROWS,
        QUEUE_SECONDS,
        EXECUTE_SECONDS,
        DEVICE_SECONDS,
        DEVICE_WAIT_SECONDS,
        FIRST_CHUNK_SECONDS,
        STREAM_CHUNKS,
        LOAD_FAILURES,
    ):
        metric.remove(model)
    RESTARTS.remove_by_labels({"model": model})
