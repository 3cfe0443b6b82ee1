"""Which batch sizes a check measures, and which it recommends."""

from __future__ import annotations

import pytest

from penstock_common.check_report import BatchTime
from penstock_inference.checking import batch_times
from penstock_inference.checking.batch_times import best_rows, measure


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, [1]), (2, [1, 2]), (48, [1, 2, 4, 8, 16, 32, 48]), (64, [1, 2, 4, 8, 16, 32, 64])]
)
async def test_sizes_double_up_to_the_largest(most: int, sizes: list[int]) -> None:
    """One row and the manifest's maximum are always among them."""
    asked: list[int] = []

    async def run(rows: int) -> None:
        asked.append(rows)

    assert [entry.rows for entry in await measure(run, most)] == sizes
    assert sorted(set(asked)) == sizes


async def test_after_a_long_run_larger_sizes_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of a slow model ends."""
    monkeypatch.setattr(batch_times, "_LONG_SECONDS", -1.0)

    async def run(rows: int) -> None:
        pass

    assert [entry.rows for entry in await measure(run, 64)] == [1]


def test_the_best_size_is_the_smallest_that_is_about_as_good_as_any() -> None:
    """Larger batches would only add latency."""
    speeds = {1: 100.0, 2: 190.0, 4: 300.0, 8: 296.0, 16: 310.0, 32: 200.0}
    times = [BatchTime(rows, 1.0, speed) for rows, speed in speeds.items()]
    assert best_rows(times) == 4
    assert best_rows([]) == 0
