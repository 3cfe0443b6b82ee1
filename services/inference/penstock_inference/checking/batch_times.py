"""How long the runs of a model take at each batch size, and which size gives the most rows per second."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median

from penstock_common.check_report import BatchTime

#: Runs of a size: at least so many, and more until their time is up.
_LEAST_RUNS = 3
_MOST_RUNS = 50
_SECONDS_OF_A_SIZE = 0.25
#: Larger sizes are left out once a run takes so long.
_LONG_SECONDS = 5.0
#: A size is as good as the best if it gives this share of its rows per second.
_AS_GOOD = 0.95


async def measure(run: Callable[[int], Awaitable[object]], most_rows: int) -> list[BatchTime]:
    """Return the times of 1, 2, 4 ... rows and of ``most_rows``; of fewer sizes if runs become very long.

    Args:
        run: runs that many rows once.
    """
    times = []
    for rows in _sizes(most_rows):
        await run(rows)  # the first run of a size may plan for it
        times.append(await _measured(run, rows))
        if times[-1].milliseconds > 1000 * _LONG_SECONDS:
            break
    return times


def best_rows(times: list[BatchTime]) -> int:
    """Return the smallest size that is about as good as the best one; 0 if there are no times."""
    most = max([entry.rows_per_second for entry in times], default=0.0)
    return next((entry.rows for entry in times if entry.rows_per_second >= _AS_GOOD * most), 0)


def _sizes(most: int) -> list[int]:
    return [1 << exponent for exponent in range(most.bit_length()) if 1 << exponent < most] + [most]


async def _measured(run: Callable[[int], Awaitable[object]], rows: int) -> BatchTime:
    seconds: list[float] = []
    while len(seconds) < _LEAST_RUNS or (len(seconds) < _MOST_RUNS and sum(seconds) < _SECONDS_OF_A_SIZE):
        started = time.perf_counter()
        await run(rows)
        seconds.append(time.perf_counter() - started)
    typical = median(seconds)
    return BatchTime(rows, round(1000 * typical, 3), round(rows / typical, 1))
