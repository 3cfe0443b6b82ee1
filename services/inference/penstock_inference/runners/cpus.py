"""How many threads an operator of a model may use."""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def operator_threads(setting: int, cgroup: Path = _CGROUP) -> int:
    """Return the number of threads of one operator.

    Args:
        setting: what the operator of the pod chose; 0 for the CPUs of the container's limit, 1 if it has none.
        cgroup: where the container's cgroup is mounted.
    """
    if setting:
        return setting
    limit = cpu_limit(cgroup)
    return 1 if limit is None else max(1, min(int(limit), len(os.sched_getaffinity(0))))


def cpu_limit(cgroup: Path = _CGROUP) -> float | None:
    """Return the CPUs that the container's cgroup may use (version 2 or 1); None if it has no limit.

    ``os.cpu_count()`` is the machine's: threads beyond the limit would only wait for each other while the kernel holds
    the container back.
    """
    return _version_2(cgroup) or _version_1(cgroup / "cpu")


def _version_2(folder: Path) -> float | None:
    """``cpu.max``: the quota, or ``max``, and the period, in microseconds."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except OSError:
        return None
    return None if quota == "max" else int(quota) / int(period)


def _version_1(folder: Path) -> float | None:
    """The same in two files; a quota of -1 means that there is no limit."""
    try:
        quota, period = [int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")]
    except OSError:
        return None
    return quota / period if quota > 0 else None
