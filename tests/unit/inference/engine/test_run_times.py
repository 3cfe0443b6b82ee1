"""The estimate of what rows cost."""

from __future__ import annotations

import pytest

from penstock_inference.engine.run_times import RunTimes


def test_the_estimate_follows_the_runs() -> None:
    """Nothing is known before the first run; later the newest runs count most."""
    times = RunTimes()
    assert times.estimate(100) == 0.0
    for _ in range(50):
        times.add(10, 0.1)
    assert times.estimate(100) == pytest.approx(1.0, rel=0.01)
    for _ in range(50):
        times.add(10, 0.2)
    assert times.estimate(100) == pytest.approx(2.0, rel=0.01)


def test_short_is_decided_by_the_last_run_and_by_the_estimate() -> None:
    """A model's first run is not short, nor is one of many rows, nor the one after a long one."""
    times = RunTimes()
    assert not times.is_short(1)
    times.add(1, 0.0001)
    assert times.is_short(1)
    assert not times.is_short(1000)
    times.add(1, 0.002)
    assert not times.is_short(1)
    times.add(1, 0.0001)
    assert times.is_short(1)
