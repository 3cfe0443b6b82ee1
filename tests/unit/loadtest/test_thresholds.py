"""The thresholds of a load test, each checked separately."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LOADTEST = Path(__file__).resolve().parents[3] / "loadtest"
THRESHOLDS = {"MAX_FAILURES": "2", "MAX_P99_MS": "500", "MIN_REQUESTS": "100"}
RUNS = {
    "all met": (100, 2, 500.0),
    "too few requests": (99, 0, 1.0),
    "too many failures": (1000, 3, 1.0),
    "too slow": (1000, 0, 500.1),
    "all missed": (99, 3, 501.0),
}


@pytest.fixture(scope="module")
def verdicts() -> dict[str, list[str]]:
    """The verdict on each run, from a separate process, because importing locust replaces Python's sockets."""
    program = "import json, sys, thresholds; print(json.dumps({name: thresholds.verdict(*run) "
    program += "for name, run in json.load(sys.stdin).items()}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(RUNS),
        env=os.environ | THRESHOLDS,
        cwd=LOADTEST,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("run", "missed"),
    [
        ("all met", []),
        ("too few requests", ["MIN_REQUESTS is 100"]),
        ("too many failures", ["MAX_FAILURES is 2"]),
        ("too slow", ["MAX_P99_MS is 500"]),
        ("all missed", ["MIN_REQUESTS is 100", "MAX_FAILURES is 2", "MAX_P99_MS is 500"]),
    ],
)
def test_each_threshold_is_judged(verdicts: dict[str, list[str]], run: str, missed: list[str]) -> None:
    """A value exactly at its bound meets the threshold; a value beyond it is reported with the bound."""
    assert len(verdicts[run]) == len(missed)
    for line, bound in zip(verdicts[run], missed, strict=True):
        assert line.endswith(bound)
