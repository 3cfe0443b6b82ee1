"""Liveness and readiness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


@dataclass
class Health:
    """Readiness folds every component and the drain into one answer."""

    components: dict[str, Callable[[], bool]] = field(default_factory=dict)
    draining: bool = False

    def report(self) -> tuple[bool, dict[str, str]]:
        """Whether this gateway takes new traffic, and the state of each component."""
        parts = {name: "ok" if check() else "not yet" for name, check in self.components.items()}
        if self.draining:
            parts["drain"] = "under way"
        return bool(self.components) and all(v == "ok" for v in parts.values()), parts

    async def live(self, _: Request) -> Response:
        """``GET /healthz``."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """``GET /readyz``."""
        ready, parts = self.report()
        return JSONResponse({"ready": ready, "components": parts}, status_code=200 if ready else 503)
