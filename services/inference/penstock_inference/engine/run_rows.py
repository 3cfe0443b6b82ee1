"""How many rows one run should have: as many as make a row cheaper, and no more.

On a GPU, and with small models, a run of many rows takes little longer than a run of one. With an image model on a
CPU, it takes as long as its rows one after the other: large runs answer no more rows per second, and whoever comes
during one waits for all of it. Which of these a model is on this machine, its runs tell.
"""

from __future__ import annotations

#: The weight of the newest run in the moving average of its size.
_WEIGHT = 0.1
#: Runs of a size are as good as those of the best if they take at most 1 / 0.9 of its time for a row.
_AS_GOOD = 0.9
#: A size counts once it has been seen in so many runs: a single one tells more of the machine than of the model.
_LEAST_RUNS = 8
#: One of so many runs may be twice as large, to find out if larger runs have become better. Fewer than one of twenty, so
#: that they do not show in a p95.
_TRIAL = 64


class RunRows:
    """The rows of one run, learnt from the runs of one model.

    A size is the exponent of the next power of two: a run of 65 rows and one of 128 are of one size.

    Args:
        max_rows: that the model takes at a time.

    Attributes:
        most: rows of a run. It is below ``max_rows`` only if larger runs were seen to be no better.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        sizes = (max_rows - 1).bit_length() + 1
        self._row_seconds = [0.0] * sizes
        self._seen = [0] * sizes  # runs
        self._runs = 0
        self.most = max_rows

    def add(self, rows: int, seconds: float) -> None:
        """Take a run into account that took ``seconds`` on the device, waits excluded."""
        size = (rows - 1).bit_length()
        known, new = self._row_seconds[size], seconds / rows
        self._row_seconds[size] = known + _WEIGHT * (new - known) if self._seen[size] else new
        self._seen[size] += 1
        if self._seen[size] >= _LEAST_RUNS:
            self._choose()

    def _choose(self) -> None:
        sizes = [size for size, runs in enumerate(self._seen) if runs >= _LEAST_RUNS]
        best = min([self._row_seconds[size] for size in sizes])
        smallest = next(size for size in sizes if self._row_seconds[size] * _AS_GOOD <= best)
        self.most = min(1 << smallest, self._max_rows) if smallest < sizes[-1] else self._max_rows

    def next(self) -> int:
        """Return the rows that the next run may have."""
        self._runs += 1
        return self.most if self._runs % _TRIAL else min(2 * self.most, self._max_rows)
