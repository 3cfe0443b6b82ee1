"""What passes between an endpoint and a protocol: an authenticated call and its reply."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.admission import Lease, Usage

#: ASGI's types.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"


@dataclass(slots=True)
class Call:
    """One authenticated request.

    ``deadline`` is on ``time.monotonic``'s clock. ``lease`` is set when the request
    is admitted; the endpoint settles it.
    """

    path: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: bytes
    principal: Principal
    deadline: float
    receive: Receive
    lease: Lease | None = None


@dataclass(slots=True)
class Reply:
    """An answer.

    A body that is a generator is sent chunk by chunk as it comes; its producer adds to
    ``usage`` as it goes. The endpoint reports ``usage`` after the last byte or the disconnect.
    """

    body: bytes | AsyncGenerator[bytes, None]
    content_type: bytes = JSON
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


Handler = Callable[[Call], Awaitable[Reply]]
