"""What a batch may have, and how many of them a key and a gateway may have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchBounds:
    """The fields are settings of the same names; ``docs/limits.md`` gives the reason for each."""

    files_days: float
    max_batch_lines: int
    max_batch_line_bytes: int
    max_batches_per_key: int
    max_running_batches: int
    batch_lease_seconds: float
