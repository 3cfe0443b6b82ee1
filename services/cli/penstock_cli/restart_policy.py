"""When a part that has ended is started again, and when no longer."""

from __future__ import annotations

#: Seconds before the first restart; each further one of a part that does not run for long waits twice as long.
FIRST_DELAY = 0.1
#: Seconds after which a part counts as running, so that its earlier ends are forgotten.
STEADY_SECONDS = 10.0
#: Restarts in a row after which a part that still does not run for long is given up, 6 s of waiting in all.
MOST_IN_A_ROW = 6


class RestartPolicy:
    """The restarts of one part."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def delay_after(self, ran_seconds: float) -> float | None:
        """Seconds to wait after a process that ran for ``ran_seconds``; None if there should be no other."""
        if ran_seconds >= STEADY_SECONDS:
            self._in_a_row = 0
        if self._in_a_row == MOST_IN_A_ROW:
            return None
        self._in_a_row += 1
        return float(FIRST_DELAY * 2 ** (self._in_a_row - 1))
