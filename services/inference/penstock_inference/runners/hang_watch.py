"""Whether a model's process hangs: how long it has shown no progress, beside how long its runs have taken so far."""

from __future__ import annotations

import time
from typing import NamedTuple

from penstock_inference.runners.progress import BEAT_SECONDS, ProgressReader
from penstock_inference.runners.shared_tensors import SharedMemory

#: How many times as long as the longest run so far a run may take, if that is more than the bound of the settings.
_TIMES_LONGEST_RUN = 10.0
#: Seconds without a heartbeat after which it is taken for the reason of a run without an end.
_STILL_SECONDS = 4 * BEAT_SECONDS


class Hang(NamedTuple):
    """Why a process has to be killed: a word for a metric, and a sentence."""

    cause: str
    reason: str


class HangWatch:
    """Watches one process; its load is the first run.

    Args:
        page: on which the process shows its progress.
        run_seconds: that a run may take in any case.
        load_seconds: that the load may take.
    """

    def __init__(self, page: SharedMemory, *, run_seconds: float, load_seconds: float) -> None:
        self._progress = ProgressReader(page)
        self._run_seconds = run_seconds
        self._bound = load_seconds
        self._longest_run = 0.0
        self._silence = _Stopwatch()
        self._work = _Stopwatch()
        self._started = 0.0
        self._longest_step = 0.0

    def run_begins(self) -> None:
        self._started = time.monotonic()
        self._longest_step = 0.0
        self._work.seconds = 0.0

    def run_goes_on(self) -> None:
        """The process has asked for something and got it."""
        self._work.seconds = 0.0

    def run_ended(self) -> None:
        """A run that shows its progress may take as long as it likes; one of its steps may not."""
        in_steps = max(self._longest_step, self._work.seconds)
        self.took(in_steps if self._longest_step else time.monotonic() - self._started)

    def took(self, seconds: float) -> None:
        """Take note of how long a run, or a step, has taken; the next one may take ten times the longest."""
        self._longest_run = max(self._longest_run, seconds)
        self._bound = max(self._run_seconds, _TIMES_LONGEST_RUN * self._longest_run)

    def tick_run(self, seconds: float, *, running: bool) -> None:
        """Count the time of a run, or of the load.

        Args:
            seconds: since the last tick, as far as the server was awake to see them.
        """
        self._silence.tick(seconds, self._progress.heard_beat())
        moved = self._progress.moved()
        if moved:
            self._longest_step = max(self._longest_step, self._work.seconds, seconds)
        self._work.tick(seconds, moved or not running)

    def tick_step(self, seconds: float) -> None:
        """Count the time of a step of streams."""
        self._silence.tick(seconds, self._progress.heard_beat())
        stepped = self._progress.stepped()
        if stepped:
            self.took(self._work.seconds)
        self._work.tick(seconds, stepped)

    def hang(self) -> Hang | None:
        """Return why the process has to be killed; None if it makes progress."""
        if self._silence.seconds > self._run_seconds:
            return Hang("silent", f"its process was stopped, or kept Python's lock, for {self._run_seconds:g} s")
        if self._work.seconds > self._bound:
            still = self._silence.seconds > _STILL_SECONDS
            return Hang("silent" if still else "hang", f"a run, or the load, took more than {self._bound:.0f} s")
        return None

    def close(self) -> None:
        self._progress.close()


class _Stopwatch:
    """Seconds since something last happened."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def tick(self, seconds: float, happened: bool) -> None:
        self.seconds = 0.0 if happened else self.seconds + seconds
