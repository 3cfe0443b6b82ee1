"""How long the runs of one model take."""

from __future__ import annotations

#: The weight of the newest run in the moving average.
_WEIGHT = 0.2
_SHORT_SECONDS = 0.001


class RunTimes:
    """A moving average of seconds per row, from which the cost of rows is estimated."""

    def __init__(self) -> None:
        self._seconds_per_row = 0.0
        self._last_seconds = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Take one run into account."""
        self._seconds_per_row += _WEIGHT * (seconds / rows - self._seconds_per_row)
        self._last_seconds = seconds

    def estimate(self, rows: int) -> float:
        """Return the seconds that ``rows`` will take; 0 before the first run."""
        return rows * self._seconds_per_row

    def is_short(self, rows: int) -> bool:
        """Return whether a run of ``rows`` takes less than a millisecond, by the estimate and by the run before it.

        False before the first run.
        """
        return 0.0 < max(self._last_seconds, self.estimate(rows)) < _SHORT_SECONDS
