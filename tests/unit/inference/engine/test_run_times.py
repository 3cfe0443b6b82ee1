"""The estimate of what rows cost."""

from __future__ import annotations

import pytest

from penstock_inference.engine.run_times import RunTimes


def test_the_estimate_follows_the_runs() -> None:
    """Nothing is known before the first run; later the newest runs count most."""
    times = RunTimes(10)
    assert times.estimate(100) == 0.0
    for seconds in (0.1, 0.2):
        for _ in range(50):
            times.add(10, seconds)
        assert times.estimate(100) == pytest.approx(10 * seconds, rel=0.01)


def test_the_estimate_counts_batches() -> None:
    """Rows that wait leave in full batches and a rest; each costs what runs of its size have cost."""
    times = RunTimes(128)
    times.add(1, 0.02)
    times.add(100, 0.1)
    assert times.estimate(1) == pytest.approx(0.02)
    assert times.estimate(3 * 128) == pytest.approx(0.3)
    assert times.estimate(3 * 128 + 1) == pytest.approx(0.32)


@pytest.mark.parametrize(("seen", "expected"), [(1, 4 * 0.02), (64, 4 * 0.02), (128, 4 * 0.02)])
def test_a_size_that_was_not_seen_costs_as_much_as_the_nearest(seen: int, expected: float) -> None:
    """The next smaller, and if there is none the next larger: 500 rows are four runs in any case."""
    times = RunTimes(128)
    times.add(seen, 0.02)
    assert times.estimate(500) == pytest.approx(expected)


def test_the_parts_of_a_large_message_are_runs() -> None:
    """What was run in parts teaches how long a part takes."""
    times = RunTimes(4)
    times.add(10, 0.3)
    assert times.estimate(4) == pytest.approx(0.1)
