"""A run has as many rows as make a row cheaper, and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock_inference.engine.run_rows import RunRows


def learn(rows: RunRows, seconds: Callable[[int], float], sizes: list[int]) -> RunRows:
    for size in sizes:
        for _ in range(50):
            rows.add(size, seconds(size))
    return rows


@pytest.mark.parametrize("sizes", [[1], [1, 2], [64], [1, 64], [1, 2, 4, 8, 16, 32, 64]])
def test_runs_are_as_large_as_they_may_if_that_makes_rows_cheaper(sizes: list[int]) -> None:
    """A run of 64 rows takes little longer than one of a single row, or it is not known how long it takes."""
    assert learn(RunRows(64), lambda rows: 0.01 + 0.0001 * rows, sizes).most == 64


def test_runs_are_small_if_each_row_takes_its_time() -> None:
    """Runs of 64 rows answer no more rows per second than runs of one, so others need not wait for 64."""
    rows = learn(RunRows(64), lambda rows: 0.025 * rows, [1, 64])
    assert rows.most == 1
    assert {rows.next() for _ in range(100)} == {1, 2}


def test_few_runs_tell_nothing() -> None:
    """A run that had to wait for the machine does not make the next ones small."""
    rows = learn(RunRows(64), lambda rows: 0.01, [1])
    for _ in range(3):
        rows.add(64, 10.0)
    assert rows.most == 64


def test_a_part_of_the_time_for_a_run_makes_runs_larger() -> None:
    """With 4 ms for a run and 1 ms for a row, 32 rows are nearly as cheap as 64, and 16 are not."""
    assert learn(RunRows(64), lambda rows: 0.004 + 0.001 * rows, [1, 4, 16, 32, 64]).most == 32


def test_runs_grow_again_if_larger_ones_have_become_better() -> None:
    """What was learnt while the machine was busy with other things is not kept: some runs are twice as large."""
    rows = learn(RunRows(64), lambda rows: 0.025 * rows, [1, 64])
    for _ in range(3000):
        size = rows.next()
        rows.add(size, 0.025 + 0.0001 * size)
    assert rows.most >= 32


def test_a_model_of_odd_batches_gets_whole_ones() -> None:
    """The largest run has ``max_rows`` and not the next power of two."""
    assert {RunRows(100).next() for _ in range(100)} == {100}
    assert learn(RunRows(100), lambda rows: 0.025, [1, 64, 100]).most == 100
    assert RunRows(1).next() == 1
