"""How many users there are at which time. USERS and SECONDS scale a shape; times are seconds since the start."""

from __future__ import annotations

import os

from locust import LoadTestShape

USERS = int(os.environ.get("USERS", "20"))
SECONDS = float(os.environ.get("SECONDS", "180"))


class Ramp(LoadTestShape):
    """Rises for a third of the time, is steady for a third, and falls for the last third."""

    def tick(self) -> tuple[int, float] | None:
        at = self.get_run_time() / SECONDS
        if at >= 1:
            return None
        share = min(1.0, 3 * at, 3 * (1 - at))
        return max(1, round(USERS * share)), USERS


class Spike(LoadTestShape):
    """A tenth of the users, but all of them for the middle fifth of the time."""

    def tick(self) -> tuple[int, float] | None:
        at = self.get_run_time() / SECONDS
        if at >= 1:
            return None
        return (USERS if 0.4 <= at < 0.6 else max(1, USERS // 10)), USERS


class Soak(LoadTestShape):
    """All users, all the time."""

    def tick(self) -> tuple[int, float] | None:
        return None if self.get_run_time() >= SECONDS else (USERS, USERS)


def chosen(name: str) -> type[LoadTestShape]:
    """Return the shape class of this name; Locust uses the only one that the locustfile has."""
    shapes = {"ramp": Ramp, "spike": Spike, "soak": Soak}
    if name not in shapes:
        raise SystemExit(f"SHAPE={name!r}: use one of {', '.join(shapes)}")
    return shapes[name]
