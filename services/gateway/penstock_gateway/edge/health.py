"""Liveness and readiness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


@dataclass
class Health:
    """Readiness folds every component and the drain into one answer.

    Attributes:
        components: what this gateway needs to take new traffic.
        dependencies: what it needs beyond that to answer; without them, other gateways could do no better.
    """

    components: dict[str, Callable[[], bool]] = field(default_factory=dict)
    dependencies: dict[str, Callable[[], bool]] = field(default_factory=dict)
    draining: bool = False

    def report(self) -> tuple[bool, dict[str, str]]:
        """Whether this gateway takes new traffic, and the state of each component."""
        parts = _states(self.components)
        if self.draining:
            parts["drain"] = "under way"
        return bool(self.components) and all(v == "ok" for v in parts.values()), parts

    async def live(self, _: Request) -> Response:
        """``GET /healthz``."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """``GET /readyz``: whether this gateway takes new traffic."""
        return _answer(*self.report())

    async def server_ready(self, _: Request) -> Response:
        """``GET /v2/health/ready``: whether it takes new traffic and can have it answered."""
        ready, parts = self.report()
        dependencies = _states(self.dependencies)
        return _answer(ready and set(dependencies.values()) <= {"ok"}, parts | dependencies)


def _states(checks: dict[str, Callable[[], bool]]) -> dict[str, str]:
    return {name: "ok" if check() else "not yet" for name, check in checks.items()}


def _answer(ready: bool, parts: dict[str, str]) -> Response:
    return JSONResponse({"ready": ready, "components": parts}, status_code=200 if ready else 503)
