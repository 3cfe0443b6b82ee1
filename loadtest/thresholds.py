"""Decides the exit code by MAX_FAILURES (default 0), MAX_P99_MS (default 2000) and MIN_REQUESTS (default 100)."""

from __future__ import annotations

import os
from typing import Any

from locust import events
from locust.env import Environment

MAX_FAILURES = int(os.environ.get("MAX_FAILURES", "0"))
MAX_P99_MS = float(os.environ.get("MAX_P99_MS", "2000"))
MIN_REQUESTS = int(os.environ.get("MIN_REQUESTS", "100"))


def verdict(requests: int, failures: int, p99_ms: float) -> list[str]:
    """Return a line for each missed threshold."""
    missed = []
    if requests < MIN_REQUESTS:
        missed.append(f"{requests} requests were sent, MIN_REQUESTS is {MIN_REQUESTS}")
    if failures > MAX_FAILURES:
        missed.append(f"{failures} of {requests} requests failed, MAX_FAILURES is {MAX_FAILURES}")
    if p99_ms > MAX_P99_MS:
        missed.append(f"p99 was {p99_ms:.0f} ms, MAX_P99_MS is {MAX_P99_MS:.0f}")
    return missed


@events.quitting.add_listener
def decide(environment: Environment, **_: Any) -> None:
    total = environment.stats.total
    missed = verdict(total.num_requests, total.num_failures, total.get_response_time_percentile(0.99) or 0.0)
    for line in missed:
        print(f"THRESHOLD MISSED: {line}")
    environment.process_exit_code = 1 if missed else 0
