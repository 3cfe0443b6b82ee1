"""What a check of an artifact found: a pod would serve it, at what speed, or not, and why."""

from __future__ import annotations

import msgspec


class BatchTime(msgspec.Struct):
    """The time of a run: the median of several, with the way to the model's process and back."""

    rows: int
    milliseconds: float
    rows_per_second: float


class StreamTime(msgspec.Struct):
    """The time of one stream, up to the bounds of a trial."""

    chunks: int
    first_chunk_milliseconds: float
    chunks_per_second: float


class CheckReport(msgspec.Struct):
    """The result of ``python -m penstock_inference.check``.

    Attributes:
        passed: a pod would serve the artifact.
        reason: why it would not, with the remedy; empty if it would.
        load_seconds: of the load and its trials; the import of the framework is not part of it.
        memory_bytes: resident memory of the model's process after the runs, with what it shares with others.
        examples: how many of the manifest's examples were run.
        times: for each batch size that was tried, ascending.
        best_rows: the smallest batch size that is within 5 % of the most rows per second; 0 if none was tried.
        advice: what could be better.
        streams: for each example of a model that streams.
    """

    passed: bool
    reason: str = ""
    format: str = ""
    file_bytes: int = 0
    load_seconds: float = 0.0
    memory_bytes: int = 0
    examples: int = 0
    times: list[BatchTime] = []
    best_rows: int = 0
    advice: list[str] = []
    streams: list[StreamTime] = []
