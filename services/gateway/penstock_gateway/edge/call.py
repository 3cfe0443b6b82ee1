"""What passes between an endpoint and a protocol: an authenticated call and its reply.

They are msgspec structs, as is all that is made anew for each request: made in C, they cost a third of a dataclass.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.admission import Lease, Usage

#: ASGI's types.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"


class Call(msgspec.Struct):
    """One authenticated request.

    ``deadline`` is on ``time.monotonic``'s clock. The endpoint settles ``lease``.
    """

    path: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    body: bytes
    principal: Principal
    deadline: float
    receive: Receive
    lease: Lease
    query: bytes = b""


class Reply(msgspec.Struct):
    """An answer.

    A body that is a generator is sent chunk by chunk as it comes; its producer adds to
    ``usage`` as it goes. The endpoint reports ``usage`` after the last byte or the disconnect. If an error ends such a
    body, the producer notes it in ``failure``, for the log and the metrics.
    """

    body: bytes | AsyncGenerator[bytes, None]
    content_type: bytes = JSON
    status: int = 200
    headers: list[tuple[bytes, bytes]] = []
    usage: Usage = msgspec.field(default_factory=Usage)
    failure: PenstockError | None = None


Handler = Callable[[Call], Awaitable[Reply]]
