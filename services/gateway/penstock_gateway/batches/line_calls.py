"""Sends the requests of batches through the gateway's own routes, each as the key that made its batch."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from penstock_gateway.auth.authenticator import Headers
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.principal import Principal
from penstock_gateway.batches.answered_line import AnsweredLine, answered, new_request_id
from penstock_gateway.batches.input_lines import POST, InputLine
from penstock_gateway.edge.call import JSON, Message

App = Callable[[Any, Any, Any], Awaitable[None]]

_KEY_ID = b"penstock-key-id"
#: Not now: the limit of the key, or no room or nobody there. What else is refused would be refused again.
_TRY_AGAIN = (429, 503)
_LONGEST_WAIT = 60.0  # seconds


class ByKeyId:
    """Authenticates the requests of batches, which no client can send: by the id of a key, not by the key."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def authenticate(self, headers: Headers) -> Principal:
        """As ``KeyRing.principal``."""
        return self._keys.principal(dict(headers)[_KEY_ID])


class KeyRefusedError(Exception):
    """The key that made a batch may call nothing any more."""


class LineCalls:
    """Calls the routes.

    Args:
        endpoints: the applications by path; they authenticate with ``ByKeyId``.
        at_once: requests that are under way at once, of all batches; they take turns.
    """

    def __init__(self, endpoints: Mapping[str, App], at_once: int) -> None:
        self.endpoints = endpoints
        self._free = asyncio.Semaphore(at_once)

    async def answer(self, principal: str, request: InputLine) -> AnsweredLine:
        """The answer to a request; one that is refused for now is sent again, for as long as it takes.

        Raises:
            KeyRefusedError: the key was revoked or has expired.
        """
        request_id = new_request_id()
        while True:
            async with self._free:
                status, headers, body = await self._call(principal, request, request_id)
            if status == 401:
                raise KeyRefusedError
            if status not in _TRY_AGAIN:
                return answered(request_id, request.custom_id, status, body)
            await asyncio.sleep(_pause(headers))

    async def _call(
        self, principal: str, request: InputLine, request_id: str
    ) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
        body = bytes(request.body)
        headers = [
            (b"content-type", JSON),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (_KEY_ID, principal.encode()),
        ]
        scope = {
            "type": "http",
            "method": POST,
            "path": request.url,
            "query_string": b"",
            "headers": headers,
            "penstock.whole": True,
        }
        received = False
        started: Message = {}
        pieces: list[bytes] = []

        async def receive() -> Message:
            nonlocal received
            if received:
                await asyncio.get_running_loop().create_future()  # no client can go away
            received = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.update(message)
            else:
                pieces.append(message.get("body", b""))

        await self.endpoints[request.url](scope, receive, send)
        return started["status"], started["headers"], b"".join(pieces)


def _pause(headers: Sequence[tuple[bytes, bytes]]) -> float:
    """Seconds that a refusal asks to wait, and up to half as much again, so that not all come back at once."""
    after = dict(headers).get(b"retry-after", b"")
    seconds = float(after) if after.isdigit() else 1.0
    return min(max(seconds, 1.0), _LONGEST_WAIT) * random.uniform(1.0, 1.5)  # noqa: S311 (no secret)
