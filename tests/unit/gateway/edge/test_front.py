"""Connections from a front: who the client is, and who may connect."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from penstock_gateway.edge.connection_phases import patience
from penstock_gateway.edge.door import Door
from penstock_gateway.edge.front import ProxyHeaderError, listen_to_front, read_proxy_header
from penstock_gateway.edge.http_protocol import FrontDoorProtocol
from tests.unit.gateway.edge.front_door import bounds, reply

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def header(client: str, port: int = 40000, command: int = 0x21, more: bytes = b"") -> bytes:
    """What a front writes first for a client at this address."""
    kind, family = (socket.AF_INET6, 0x21) if ":" in client else (socket.AF_INET, 0x11)
    packed = socket.inet_pton(kind, client)
    addresses = packed + packed + struct.pack("!HH", port, 443) + more
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::7"])
def test_the_header_names_the_client(client: str) -> None:
    """Its address and port are the client's, over IPv4 and IPv6; what follows the addresses is skipped."""
    data = header(client, more=b"\x04\0\1x")
    assert read_proxy_header(data + GET) == ((client, 40000), len(data))


def test_a_header_may_come_in_pieces() -> None:
    """Nothing is known before its last byte."""
    data = header("192.0.2.7")
    assert {read_proxy_header(data[:end]) for end in range(len(data))} == {(None, 0)}


def test_the_fronts_own_connection_has_no_client() -> None:
    """LOCAL means that no client is behind the connection."""
    data = header("192.0.2.7", command=0x20)
    assert read_proxy_header(data) == (None, len(data))


@pytest.mark.parametrize("data", [GET, b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n", header("192.0.2.7", command=0x11)])
def test_anything_else_is_refused(data: bytes) -> None:
    """HTTP, the first version of the protocol, an unknown version."""
    with pytest.raises(ProxyHeaderError):
        read_proxy_header(data)


def test_addresses_that_are_cut_off_are_refused() -> None:
    """The declared length is shorter than two addresses."""
    with pytest.raises(ProxyHeaderError, match="8 bytes"):
        read_proxy_header(SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 8) + bytes(8))


@asynccontextmanager
async def fronted(path: Path) -> AsyncIterator[None]:
    """A gateway at ``path`` that answers with the client and the scheme; at most one connection an address."""
    held = bounds(max_connections_per_address=1)
    door = Door(held, patience(held))

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        await reply(send, f"{scope['client']} {scope['scheme']}".encode())

    config = uvicorn.Config(app, lifespan="off", log_config=None, ws="none", proxy_headers=False)  # type: ignore[arg-type]
    config.load()
    state = ServerState()
    server = await listen_to_front(path, lambda: FrontDoorProtocol(door, config, state, {}))
    try:
        yield
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()


async def ask(path: Path, *pieces: bytes) -> tuple[bytes, asyncio.StreamWriter]:
    """Send pieces on a connection of its own; what came by the end of the first answer, or of the connection."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        return head + await reader.read(65536), writer
    except (asyncio.IncompleteReadError, ConnectionError):
        return b"", writer


async def test_a_request_comes_from_the_client_that_the_front_names(tmp_path: Path) -> None:
    """Over HTTPS, also if its header and the request arrive in pieces."""
    path = tmp_path / "front.sock"
    async with fronted(path):
        whole = header("192.0.2.7") + GET
        answer, _ = await ask(path, whole)
        assert answer.endswith(b"('192.0.2.7', 40000) https")
        answer, _ = await ask(path, header("192.0.2.8")[:20], header("192.0.2.8")[20:] + GET[:5], GET[5:])
        assert answer.endswith(b"('192.0.2.8', 40000) https")


async def test_the_connections_of_an_address_are_the_clients(tmp_path: Path) -> None:
    """Two clients behind one front do not share a limit; the second connection of one of them is refused."""
    path = tmp_path / "front.sock"
    async with fronted(path):
        _, first = await ask(path, header("192.0.2.7") + GET)
        answer, _ = await ask(path, header("192.0.2.8") + GET)
        assert answer.startswith(b"HTTP/1.1 200")
        answer, _ = await ask(path, header("192.0.2.7", port=40001) + GET)
        assert answer.startswith(b"HTTP/1.1 503") and b"max_connections_per_address" in answer
        first.close()
        async with asyncio.timeout(10):
            while not (await ask(path, header("192.0.2.7") + GET))[0].startswith(b"HTTP/1.1 200"):
                pass


async def test_a_connection_without_the_header_is_closed(tmp_path: Path) -> None:
    """Nobody can pass the front by."""
    path = tmp_path / "front.sock"
    async with fronted(path):
        assert (await ask(path, GET))[0] == b""


async def test_only_the_same_user_can_connect(tmp_path: Path) -> None:
    """The socket has mode 600, and one that an earlier process left is replaced."""
    path = tmp_path / "front.sock"
    socket.socket(socket.AF_UNIX).bind(str(path))
    async with fronted(path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert (await ask(path, header("192.0.2.7") + GET))[0].startswith(b"HTTP/1.1 200")
