"""Takes the calls that are made most straight to their endpoints, past FastAPI and its router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from penstock_gateway.edge.call import Receive, Scope, Send

App = Callable[[Any, Any, Any], Awaitable[None]]


class Dispatcher:
    """An ASGI application in front of another.

    FastAPI's exit stack, exception middleware and router take a fifth of the gateway's time (10 of 51 us a
    request).

    Args:
        rest: answers all that has no endpoint here.
    """

    def __init__(self, rest: App) -> None:
        self._rest = rest
        self._endpoints: dict[tuple[str, ...], App] = {}

    def add(self, endpoints: Mapping[str, App]) -> None:
        """Take ``POST`` to these paths.

        Args:
            endpoints: by path, in one of the three forms ``/a``, ``/a/b/{model}/c`` and
                ``/a/b/{model}/c/{version}/d``.
        """
        for path, endpoint in endpoints.items():
            fixed = [part for part in path.split("/") if part and part[0] != "{"]
            self._endpoints[tuple(fixed)] = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = None
        if scope["type"] == "http" and scope["method"] == "POST":
            parts = scope["path"].split("/")
            if len(parts) == 5 and parts[3]:
                endpoint = self._endpoints.get((parts[1], parts[2], parts[4]))
                scope["path_params"] = {"model": parts[3]}
            elif len(parts) == 7 and parts[3] and parts[5]:
                endpoint = self._endpoints.get((parts[1], parts[2], parts[4], parts[6]))
                scope["path_params"] = {"model": parts[3], "version": parts[5]}
            elif len(parts) == 2:
                endpoint = self._endpoints.get((parts[1],))
        await (endpoint or self._rest)(scope, receive, send)
