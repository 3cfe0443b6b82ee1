"""How long the runs of one model take, learnt from its runs."""

from __future__ import annotations

from penstock_inference.engine.run_rows import RunRows

#: The weight of the newest run in the moving average of its size.
_WEIGHT = 0.2


class RunTimes:
    """A moving average of the seconds of one run for each size of a run, and what follows from it.

    A size is the exponent of the next power of two: a run of 65 rows and one of 128 are of one size. The time is not
    proportional to its rows (128 rows may take five times as long as one), so a size that has not run yet is
    expected to take as long as the next smaller one that has: a refusal needs evidence.

    Args:
        max_rows: the rows of one run at most.

    Attributes:
        parallel: how many runs there can be at a time.
        run_rows: how many rows a run has, if as many wait.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self.parallel = 1
        self.run_rows = RunRows(max_rows)
        #: By size; 0 if no run of that size has been seen.
        self._seconds = [0.0] * ((max_rows - 1).bit_length() + 1)

    def add(self, rows: int, seconds: float) -> None:
        """Take a run into account; more than ``max_rows`` rows were run in parts."""
        if rows > self._max_rows:
            parts = -(-rows // self._max_rows)
            rows = -(-rows // parts)
            seconds /= parts
        size = (rows - 1).bit_length()
        known = self._seconds[size]
        self._seconds[size] = known + _WEIGHT * (seconds - known) if known else seconds

    def estimate(self, rows: int) -> float:
        """Return the seconds that ``rows`` will take in runs of so many rows as they have; 0 before the first run."""
        most = self.run_rows.most
        batches, rest = divmod(rows, most)
        seconds = batches * self._expected(most) / self.parallel if batches else 0.0
        return seconds + self._expected(rest) if rest else seconds

    def _expected(self, rows: int) -> float:
        return self._seconds[self._nearest((rows - 1).bit_length())]

    def _nearest(self, size: int) -> int:
        """Return the next smaller size that has run, this one included; if none has, the next larger."""
        if size < len(self._seconds) and self._seconds[size]:
            return size
        for known in range(min(size, len(self._seconds) - 1), -1, -1):
            if self._seconds[known]:
                return known
        return next((known for known, seconds in enumerate(self._seconds) if seconds), 0)
