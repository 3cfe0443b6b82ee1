"""The bytes of one answer of a remote, bounded in their number and in the time without any data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx

from penstock_common.errors import PenstockError
from penstock_common.remotes import Remote
from penstock_gateway.dataplane.upstream_errors import deadline_exceeded
from penstock_gateway.remotes.errors import bad_remote_answer, silent, unavailable


class AnswerBytes:
    """Reads an answer.

    Args:
        name: the remote's name here.
        since: when its request was sent, on ``time.monotonic``'s clock.
        deadline: of the request, on the same clock.
        most: bytes that are read.
    """

    def __init__(
        self, name: str, remote: Remote, response: httpx.Response, since: float, deadline: float, most: int
    ) -> None:
        self._name = name
        self._chunks: AsyncIterator[bytes] = response.aiter_raw()
        self._left = most
        self._deadline = deadline
        self._since = since
        self._patience = remote.first_seconds
        self._idle_seconds = remote.idle_seconds

    def heard(self) -> None:
        """Note that data has come; comments of a stream are none, so that they cannot keep it open without end."""
        self._since = time.monotonic()
        self._patience = self._idle_seconds

    async def read(self) -> bytes:
        """The next bytes; none at the answer's end.

        Raises:
            PenstockError: 500 ``bad-remote-answer`` if it is too large; 503 ``remote-unavailable`` if it breaks off; 504
                ``remote-silent`` or ``deadline-exceeded``.
        """
        try:
            async with asyncio.timeout(seconds_left(self._since + self._patience, self._deadline)):
                chunk = await anext(self._chunks, b"")
        except TimeoutError:
            raise late(self._name, self._deadline, self._patience) from None
        except httpx.HTTPError:
            raise unavailable(self._name, "broke off its answer") from None
        self._left -= len(chunk)
        if self._left < 0:
            raise bad_remote_answer(self._name, "more bytes than this gateway reads (max_answer_bytes)")
        return chunk


def seconds_left(limit: float, deadline: float) -> float:
    """Seconds until the earlier of two times on ``time.monotonic``'s clock; not negative."""
    return max(0.0, min(limit, deadline) - time.monotonic())


def late(name: str, deadline: float, seconds: float) -> PenstockError:
    """The error for a remote that has said nothing for ``seconds``, or whose request has run out of its own time."""
    return deadline_exceeded() if time.monotonic() >= deadline else silent(name, seconds)
