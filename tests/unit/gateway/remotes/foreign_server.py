"""A server of OpenAI's API that does what a test tells it to, also what no server should."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple

import orjson

from penstock_common.errors import PenstockError
from penstock_common.remotes import Remote
from penstock_gateway.remotes.remote_files import trusted
from penstock_gateway.remotes.server import RemoteServer


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: Any  # of its JSON; None if there is none


#: Answers a request; whatever it has not written when it returns is never written, and the connection is closed.
Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class ForeignServer:
    """Answers its requests with one behaviour after the other; the last one repeats.

    Attributes:
        requests: those that have come.
        left: set once a client has closed a connection while it was being answered.
    """

    def __init__(self, *behaviours: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self._behaviours = list(behaviours)
        self._tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self._answering: set[asyncio.Future[None]] = set()
        self.left = asyncio.Event()

    async def __aenter__(self) -> ForeignServer:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for answering in self._answering:
            answering.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode(), reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, path, _ = first.split(" ")
        sent = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(Request(method, path, headers, orjson.loads(sent) if sent else None))
        behave = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
        answering = asyncio.ensure_future(behave(writer))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        leaving = asyncio.ensure_future(reader.read(1))
        await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            self.left.set()
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            raise ConnectionResetError
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        if answering.cancelled():
            raise ConnectionResetError
        answering.result()


def answers(status: int = 200, body: Any = b"", kind: str = "application/json", **headers: str) -> Behaviour:
    """A whole answer, after which the connection is kept."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    async def behave(writer: asyncio.StreamWriter) -> None:
        lines = {"content-type": kind, "content-length": str(len(content))} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        writer.write(f"HTTP/1.1 {status} Status\r\n".encode())
        writer.write("".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode() + b"\r\n" + content)
        await writer.drain()

    return behave


def streams(*events: Any, end: bytes = b"data: [DONE]\n\n", then: Behaviour | None = None) -> Behaviour:
    """A stream of events, each in a piece of its own; ``then`` comes instead of its proper end."""

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        pieces = [event if isinstance(event, bytes) else b"data: %b\n\n" % orjson.dumps(event) for event in events]
        for piece in pieces if then else [*pieces, end]:
            await write_piece(writer, piece)
        if then is not None:
            await then(writer)
        else:
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    return behave


async def write_piece(writer: asyncio.StreamWriter, piece: bytes) -> None:
    if piece:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()


async def hangs(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def hangs_up(_: asyncio.StreamWriter) -> None:
    raise ConnectionResetError


def delta(text: str, finish: str | None = None) -> dict[str, Any]:
    """A chunk of a chat."""
    return {"object": "chat.completion.chunk", "choices": [{"delta": {"content": text}, "finish_reason": finish}]}


def usage(prompt: int, written: int) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": written}}


HELLO = streams(delta("Hel"), delta("lo"), delta("", "stop"), usage(5, 2))


def remote_server(url: str, credential: str = "", most: int = 1_000_000, **members: Any) -> RemoteServer:
    """The gateway's side of a remote ``gpt``."""
    remote = Remote(url=url, model="foreign", **members)
    return RemoteServer("gpt", remote, trusted(""), credential, most)


async def raised(work: Awaitable[Any]) -> PenstockError:
    """The error that some work ends with."""
    try:
        await work
    except PenstockError as err:
        return err
    raise AssertionError("nothing was raised")
