"""A request's body, as its messages come."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.edge.body import declared_length, read_body

LIMIT = 10
LATER = 60.0


class Client:
    """Sends its messages, then nothing more; counts how often it was asked."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = list(messages)
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)


def pieces(*texts: bytes) -> list[dict[str, Any]]:
    """A whole body in pieces."""
    last = len(texts) - 1
    return [{"type": "http.request", "body": text, "more_body": i < last} for i, text in enumerate(texts)]


async def read(client: Client, headers: dict[bytes, bytes] | None = None, seconds: float = LATER) -> bytes:
    async with asyncio.timeout(5):
        declared = declared_length(headers or {})
        return await read_body(client.receive, LIMIT, time.monotonic() + seconds, declared=declared)


async def refused(client: Client, headers: dict[bytes, bytes] | None = None, seconds: float = LATER) -> tuple[int, str]:
    with pytest.raises(PenstockError) as caught:
        await read(client, headers, seconds)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize("texts", [(b"hello",), (b"he", b"", b"llo"), (b"",), (b"1234567890",), (b"12345", b"67890")])
async def test_pieces_are_joined(texts: tuple[bytes, ...]) -> None:
    """A body of up to the limit is read whole, in however many pieces it comes."""
    assert await read(Client(*pieces(*texts))) == b"".join(texts)


async def test_a_body_may_be_absent() -> None:
    """ASGI lets a server leave the body out of its message."""
    assert await read(Client({"type": "http.request"})) == b""


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    """Nothing of a body that says it is too large is read."""
    client = Client(*pieces(b"x" * 11))
    assert await refused(client, {b"content-length": b"11"}) == (413, "body-too-large")
    assert client.asked == 0


@pytest.mark.parametrize("texts", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x", b"x" * 5, b"x" * 5)])
async def test_what_is_counted_is_what_arrives(texts: tuple[bytes, ...]) -> None:
    """A body is refused for its bytes, whatever length it declared."""
    assert await refused(Client(*pieces(*texts)), {b"content-length": b"3"}) == (413, "body-too-large")


async def test_the_rest_of_a_body_that_is_too_large_is_not_read() -> None:
    """Reading stops at the piece that goes over the limit."""
    client = Client(*pieces(b"x" * 6, b"x" * 6, b"x" * 6, b"x" * 6))
    assert await refused(client) == (413, "body-too-large")
    assert client.asked == 2


@pytest.mark.parametrize("declared", [b"", b"many", b"-1", "²".encode()])
async def test_a_length_that_is_not_a_number_is_ignored(declared: bytes) -> None:
    """The server has its own opinion of such a header; here the bytes count."""
    assert await read(Client(*pieces(b"hello")), {b"content-length": declared}) == b"hello"


async def test_a_client_that_leaves_in_the_middle() -> None:
    """Half a body is not taken for a whole one."""
    client = Client(pieces(b"he", b"llo")[0], {"type": "http.disconnect"})
    assert await refused(client) == (499, "client-gone")


async def test_a_body_that_stops_coming_is_504() -> None:
    """The next piece is awaited until the deadline and no longer."""
    assert await refused(Client(pieces(b"he", b"llo")[0]), seconds=-1) == (504, "deadline-exceeded")


async def test_a_body_that_does_not_begin_is_504() -> None:
    """Headers alone do not hold a request either."""
    assert await refused(Client(), seconds=-1) == (504, "deadline-exceeded")


@pytest.mark.parametrize("client", [Client(), Client(pieces(b"he", b"llo")[0])])
async def test_a_body_that_takes_too_much_of_the_time_is_408(client: Client) -> None:
    """The body has a bound of its own, which the refusal names."""
    with pytest.raises(PenstockError) as caught:
        async with asyncio.timeout(5):
            await read_body(client.receive, LIMIT, time.monotonic() + LATER, body_deadline=time.monotonic())
    assert (caught.value.status, caught.value.code, caught.value.extra["bound"]) == (
        408,
        "body-timeout",
        "body_seconds",
    )


async def test_a_client_that_leaves_at_once() -> None:
    """No body is not taken for an empty one."""
    assert await refused(Client({"type": "http.disconnect"})) == (499, "client-gone")


async def test_room_is_taken_for_what_is_read() -> None:
    """For each piece beyond the room that there is; what refuses ends the reading."""
    taken: list[int] = []
    for room, expected in ((5, []), (3, [2]), (0, [2, 3])):
        client = Client(*pieces(b"he", b"llo"))
        async with asyncio.timeout(5):
            await read_body(client.receive, LIMIT, time.monotonic() + LATER, room=room, take=taken.append)
        assert taken == expected
        taken.clear()

    def full(_: int) -> None:
        raise PenstockError(429, "full", "Full.")

    client = Client(*pieces(b"he", b"llo"))
    with pytest.raises(PenstockError, match="Full"):
        await read_body(client.receive, LIMIT, time.monotonic() + LATER, take=full)
    assert client.asked == 1
