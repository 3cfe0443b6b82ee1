"""What surrounds every route: the token, the request counter, and an answer to any defect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from fastapi import FastAPI, Request, Response
from prometheus_client import Counter
from starlette.middleware.base import BaseHTTPMiddleware

from penstock_common.errors import PenstockError
from penstock_registry.authentication import ALL_ROLES, Authenticator
from penstock_registry.problem_documents import PROBLEM_TYPE, problem_document

logger = structlog.get_logger()
REQUESTS = Counter("penstock_registry_requests_total", "Requests, by route and status.", ["route", "status"])

#: Paths that need no token and leave no trace.
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})


def add_middleware(app: FastAPI, authenticator: Authenticator | None) -> None:
    """Find the caller's roles (without an authenticator everybody has all), count requests, answer defects with 500."""

    async def surround(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            request.state.roles = ALL_ROLES
            if authenticator is not None and request.url.path not in OPEN_PATHS:
                address = request.client.host if request.client is not None else "unknown"
                request.state.roles = authenticator.roles(request.headers.get("authorization", ""), address)
            response = await call_next(request)
            if response.status_code in (400, 416) and response.headers["content-type"] != PROBLEM_TYPE:
                response = problem_document(_bad_range(request, response))
        except PenstockError as err:
            response = problem_document(err)
        except Exception:
            logger.exception("unhandled", path=request.url.path)
            response = problem_document(
                PenstockError(500, "internal", "The registry failed on this request; see its log.")
            )
        route = getattr(request.scope.get("route"), "path", "none")
        REQUESTS.labels(route, str(response.status_code)).inc()
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=surround)


def _bad_range(request: Request, response: Response) -> PenstockError:
    """The refusal that Starlette's FileResponse words in plain text: 400 for a malformed Range, 416 for one outside."""
    given = request.headers.get("range", "")[:40]
    headers = {name: value for name, value in response.headers.items() if name == "content-range"}
    return PenstockError(416, "bad-range", f"Range {given!r} is not a range of bytes within the blob.", headers=headers)
