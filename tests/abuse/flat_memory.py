"""Memory that is flat: as much of it in the last third of a test as in the first."""

from __future__ import annotations

import statistics

import psutil

MB = 1024 * 1024


class FlatMemory:
    """Samples the memory of a process and its children.

    Args:
        name: for what is printed.
        pid: the process.
    """

    def __init__(self, name: str, pid: int) -> None:
        self._name = name
        self._process = psutil.Process(pid)
        self._samples: list[int] = []

    def sample(self) -> None:
        family = [self._process, *self._process.children(recursive=True)]
        self._samples.append(sum(process.memory_info().rss for process in family))

    def check(self, most_growth: int) -> None:
        """Fail if the median of the last third is more than ``most_growth`` bytes above that of the first."""
        third = len(self._samples) // 3
        assert third
        first, last = statistics.median(self._samples[:third]), statistics.median(self._samples[-third:])
        print(f"{self._name}: {first / MB:.1f} -> {last / MB:.1f} MB in {len(self._samples)} samples")
        assert last - first <= most_growth, f"memory grew by {(last - first) / MB:.1f} MB"
