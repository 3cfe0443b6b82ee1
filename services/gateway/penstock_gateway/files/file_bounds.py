"""How much is kept of files, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FileBounds:
    """The fields are settings of the same names; ``docs/limits.md`` gives the reason for each."""

    files_days: float
    max_file_bytes: int
    max_files_bytes_per_key: int
    max_files_per_key: int
