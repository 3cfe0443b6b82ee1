"""The HTTP side of one remote: its connections, its credential, its deadlines, and what is tried again.

A request is sent again, at most twice, if no answer to it has begun: the server could not be reached, hung up, or
answered 429, 502 or 503. A ``Retry-After`` is kept to if it ends before the request's time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncGenerator, Callable

import httpx
import structlog
from prometheus_client import Counter, Gauge, Histogram

from penstock_common.errors import PenstockError
from penstock_common.remotes import Remote
from penstock_gateway.remotes.answer_bytes import AnswerBytes, late, seconds_left
from penstock_gateway.remotes.errors import bad_remote_answer, busy_here, refusal, retry_after_seconds, unavailable
from penstock_gateway.remotes.event_reader import EventReader, EventTooLargeError

REQUESTS = Counter(
    "penstock_gateway_remote_requests_total",
    "Requests to remotes, by how they ended: ok, cancelled, or the code of an error.",
    ["remote", "outcome"],
)
HEAD_SECONDS = Histogram(
    "penstock_gateway_remote_head_seconds",
    "Time from a request to a remote to the head of its answer.",
    ["remote"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
TOKENS = Counter(
    "penstock_gateway_remote_tokens_total", "Tokens that remotes have read (prompt) and written.", ["remote", "kind"]
)
READY = Gauge("penstock_gateway_remote_ready", "1 if a remote answered when it was last asked.", ["remote"])

logger = structlog.get_logger()

#: The last data of a stream.
_DONE = b"[DONE]"

_CONNECT_SECONDS = 5.0
_KEPT_SECONDS = 30.0  # that an idle connection is kept; servers close theirs later
_MOST_TRIES = 3
_FIRST_PAUSE = 0.2
_TRIED_AGAIN = frozenset({429, 502, 503})
_MOST_OF_A_REFUSAL = 64 * 1024
#: For what may come after the last data of a stream, so that its connection can be used again.
_END_SECONDS = 0.5


class RemoteServer:
    """Asks one remote.

    Args:
        name: the remote's name here.
        trusted: the authorities of its certificate.
        credential: sent as a bearer token, to the remote's URL only; empty for none.
        max_answer_bytes: the largest answer that is read.
    """

    def __init__(
        self, name: str, remote: Remote, trusted: ssl.SSLContext, credential: str, max_answer_bytes: int
    ) -> None:
        self.name = name
        self.remote = remote
        #: Whether it answered when it was last asked.
        self.ready = False
        self._credential = credential
        self._max_answer_bytes = max_answer_bytes
        self._under_way = 0
        self._retired = False
        # A compressed answer could be a thousand times larger than the bytes that are counted.
        headers = {"accept-encoding": "identity", "user-agent": "penstock", "content-type": "application/json"}
        if credential:
            headers["authorization"] = f"Bearer {credential}"
        limits = httpx.Limits(
            max_connections=remote.max_connections,
            max_keepalive_connections=remote.max_connections,
            keepalive_expiry=_KEPT_SECONDS,
        )
        # Proxies and .netrc of the environment are for other programs, and would see requests or replace credentials.
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(verify=trusted, trust_env=False, limits=limits),
            headers=headers,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS, pool=_CONNECT_SECONDS),
        )

    async def retire(self) -> None:
        """Close the connections, at the end of the last answer if some are under way."""
        self._retired = True
        await self._close_if_unused()

    async def _close_if_unused(self) -> None:
        if self._retired and not self._under_way:
            await self._client.aclose()

    async def look(self) -> None:
        """Find out whether the server answers, by its list of models, which some do not have."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                request = self._client.build_request("GET", self._url("/models"))
                response = await self._client.send(request, stream=True)
                await response.aclose()
        except (httpx.HTTPError, TimeoutError) as err:
            self._note(f"{type(err).__name__}: {err}")
        else:
            self._note(_fault(response.status_code))

    async def document(self, path: str, body: bytes, deadline: float) -> bytes:
        """The whole of a JSON answer.

        Args:
            path: after the remote's URL.
            deadline: on ``time.monotonic``'s clock.

        Raises:
            PenstockError: of ``remotes.errors``; 504 ``deadline-exceeded``.
        """
        parts = []
        async with self._answer(path, body, deadline, "application/json") as answer:
            while chunk := await answer.read():
                answer.heard()
                parts.append(chunk)
        return b"".join(parts)

    async def events(
        self, path: str, body: bytes, deadline: float, whole: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the data of each event of a streamed answer as it comes, without the mark of its end.

        Closing the generator closes the connection. Arguments and errors are those of ``document``.

        Args:
            whole: whether what was yielded is a whole answer, also without that mark, which some servers do not send.

        Raises:
            PenstockError: also 503 ``remote-unavailable`` if the stream ends with neither.
        """
        reader = EventReader()
        async with self._answer(path, body, deadline, "text/event-stream") as answer:
            while chunk := await answer.read():
                try:
                    for data in reader.feed(chunk):
                        if data == _DONE:
                            await self._read_end(answer)
                            return
                        answer.heard()
                        yield data
                except EventTooLargeError:
                    raise bad_remote_answer(self.name, "an event that is too large") from None
            if not whole():
                raise unavailable(self.name, "ended its stream too early")

    async def _read_end(self, answer: AnswerBytes) -> None:
        """Read what comes after the last data, if that is soon: the connection is closed otherwise."""
        with contextlib.suppress(PenstockError, TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                while await answer.read():
                    pass

    @contextlib.asynccontextmanager
    async def _answer(self, path: str, body: bytes, deadline: float, kind: str) -> AsyncGenerator[AnswerBytes, None]:
        """An answer with status 200 and content type ``kind``; its request ends with the block."""
        started = time.monotonic()
        outcome = "cancelled"
        self._under_way += 1
        try:
            if self._client.is_closed:  # the list has changed since the request found this server
                raise unavailable(self.name, "has just been changed or removed")
            response = await self._begun(path, body, deadline)
            try:
                HEAD_SECONDS.labels(self.name).observe(time.monotonic() - started)
                given = response.headers.get("content-type", "")
                if given.partition(";")[0].strip().lower() != kind:
                    raise bad_remote_answer(self.name, f"something else than {kind}")
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise bad_remote_answer(self.name, "in a content encoding that was not asked for")
                yield AnswerBytes(self.name, self.remote, response, started, deadline, self._max_answer_bytes)
            finally:
                await response.aclose()
            outcome = "ok"
        except PenstockError as err:
            outcome = err.code
            raise
        finally:
            REQUESTS.labels(self.name, outcome).inc()
            self._under_way -= 1
            await self._close_if_unused()

    async def _begun(self, path: str, body: bytes, deadline: float) -> httpx.Response:
        """The first answer with status 200, its head read."""
        limit = time.monotonic() + self.remote.first_seconds
        try:
            async with asyncio.timeout(seconds_left(limit, deadline)):
                for tries in range(1, _MOST_TRIES + 1):
                    pause = _FIRST_PAUSE * 2 ** (tries - 1) * random.uniform(0.5, 1.0)  # noqa: S311 (jitter)
                    try:
                        left = {"x-request-timeout": f"{max(0.001, deadline - time.monotonic()):.3f}"}  # Penstock's
                        request = self._client.build_request("POST", self._url(path), content=body, headers=left)
                        response = await self._client.send(request, stream=True)
                    except httpx.PoolTimeout:
                        raise busy_here(self.name, self.remote.max_connections) from None
                    except httpx.HTTPError as err:
                        self._note(f"{type(err).__name__}: {err}")
                        failure, again = unavailable(self.name, "could not be reached, or hung up"), True
                    else:
                        if response.status_code == 200:
                            self._note("")
                            return response
                        self._note(_fault(response.status_code))
                        asked = retry_after_seconds(response.headers.get("retry-after"))
                        failure = await self._refusal(response, asked)
                        again = response.status_code in _TRIED_AGAIN
                        pause = pause if asked is None else asked
                    if not again or tries == _MOST_TRIES or pause >= seconds_left(limit, deadline):
                        raise failure
                    await asyncio.sleep(pause)
        except TimeoutError:
            if time.monotonic() >= limit:  # else it was the caller who had no time
                self._note(f"it has not answered for {self.remote.first_seconds:g} s")
            raise late(self.name, deadline, self.remote.first_seconds) from None
        raise AssertionError("unreachable")

    async def _refusal(self, response: httpx.Response, retry_after: float | None) -> PenstockError:
        """The error that an answer with another status stands for; reads the beginning of it, and closes it."""
        body = b""
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MOST_OF_A_REFUSAL:
                    break
        except httpx.HTTPError:
            pass  # the status says enough
        finally:
            await response.aclose()
        return refusal(self.name, response.status_code, body, retry_after, self._credential)

    def _url(self, path: str) -> str:
        return self.remote.url.rstrip("/") + path

    def _note(self, fault: str) -> None:
        """Remember whether the server answers, and log a change; ``fault`` is empty if it does."""
        ready = not fault
        READY.labels(self.name).set(ready)
        if ready != self.ready:
            self.ready = ready
            if ready:
                logger.info("remote ready", remote=self.name)
            else:
                logger.warning("remote not ready", remote=self.name, reason=fault)


def forget(name: str) -> None:
    """Say nothing more about whether a remote that was removed is ready."""
    with contextlib.suppress(KeyError):
        READY.remove(name)


def _fault(status: int) -> str:
    """What a status says against a server, if anything; 404 may be the lack of a list of models."""
    return f"it answers with status {status}" if status >= 500 or status in (401, 403) else ""
