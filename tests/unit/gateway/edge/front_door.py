"""A listening front door for the tests, and a client that writes bytes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from penstock_gateway.edge.bounds import Bounds
from penstock_gateway.edge.connection_phases import patience
from penstock_gateway.edge.door import Door
from penstock_gateway.edge.http_protocol import FrontDoorProtocol
from penstock_gateway.settings import GatewaySettings

App = Callable[[Any, Any, Any], Awaitable[None]]


def bounds(**changes: Any) -> Bounds:
    """The default bounds, with changes."""
    settings = GatewaySettings(keys_url="unused", **changes)
    return Bounds(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(Bounds)})


@dataclasses.dataclass
class Listening:
    """A server on a port of its own."""

    door: Door
    port: int
    state: ServerState

    async def connect(self, address: str = "127.0.0.1") -> Client:
        """A client at ``address``."""
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((address, 0))
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        return Client(sock)

    async def ask(self, data: bytes) -> Answer:
        """Send ``data`` on a connection of its own and read one answer."""
        client = await self.connect()
        try:
            await client.send(data)
            return await client.answer()
        finally:
            client.close()

    def later(self, seconds: float) -> None:
        """Let the door look as if ``seconds`` had passed."""
        self.door.look(asyncio.get_running_loop().time() + seconds)


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        return json.loads(self.body)  # type: ignore[no-any-return]


class Client:
    """A socket; what the server wrote before it closed can be read even if a send failed."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._read = b""

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            await self._loop.sock_sendall(self._socket, data)

    async def answer(self) -> Answer:
        """The next answer, which has a length."""
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
        length = int(headers.get("content-length", 0))
        while len(self._read) < length:
            await self._more()
        body, self._read = self._read[:length], self._read[length:]
        return Answer(int(lines[0].split()[1]), headers, body)

    async def until(self, end: bytes) -> bytes:
        """What comes up to and with ``end``."""
        while end not in self._read:
            await self._more()
        at = self._read.index(end) + len(end)
        found, self._read = self._read[:at], self._read[at:]
        return found

    async def _more(self) -> None:
        async with asyncio.timeout(10):
            data = await self._loop.sock_recv(self._socket, 1 << 20)
        if not data:
            raise EOFError(self._read)
        self._read += data

    async def closed(self) -> bool:
        """Wait until the server closes; whether nothing more came before."""
        try:
            while True:
                await self._more()
        except (EOFError, ConnectionError):
            return not self._read

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def listening(app: App, **changes: Any) -> AsyncIterator[Listening]:
    """``app`` behind a front door with ``changes`` of the settings."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none")
    config.load()
    state = ServerState()
    held = bounds(**changes)
    door = Door(held, patience(held))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: FrontDoorProtocol(door, config, state, {}), "127.0.0.1", 0)
    try:
        yield Listening(door, server.sockets[0].getsockname()[1], state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the method, the path and the body."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await reply(send, f"{scope['method']} {scope['path']} ".encode() + body)


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answers 401 without a look at the body."""
    await reply(send, b"no", 401)


async def reply(send: Any, body: bytes, status: int = 200, headers: Any = ()) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})
