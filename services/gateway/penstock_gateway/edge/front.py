"""Connections from the gateway's own front, an Envoy that terminates TLS.

They come over a unix socket that only this user can open. Each begins with a header of the PROXY protocol,
version 2 (haproxy.org, proxy-protocol.txt, section 2.2), that says who the client is; HTTP/1.1 follows.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import structlog

from penstock_gateway.edge.http_protocol import FrontDoorProtocol

logger = structlog.get_logger()

Address = tuple[str, int]

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: Connections that wait to be accepted; a front cannot wait for room, as TCP does.
_BACKLOG = 2048
#: After the signature: version and command, family and protocol, bytes that follow.
_FIXED = struct.Struct("!BBH")
_HEAD = len(_SIGNATURE) + _FIXED.size
_PROXY, _LOCAL = 0x21, 0x20
#: For TCP over IPv4 and IPv6: both addresses, then both ports; the client's first.
_ADDRESSES = {0x11: (socket.AF_INET, struct.Struct("!4s4sHH")), 0x21: (socket.AF_INET6, struct.Struct("!16s16sHH"))}


class ProxyHeaderError(ValueError):
    """The connection does not begin with a header of the PROXY protocol, version 2."""


def read_proxy_header(data: bytes) -> tuple[Address | None, int]:
    """The client's address and the header's length in bytes; the length is 0 while ``data`` has not all of it.

    The address is None if the connection is the front's own.

    Raises:
        ProxyHeaderError: ``data`` is something else.
    """
    if data[: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        raise ProxyHeaderError(f"it begins with {data[:16]!r}")
    if len(data) < _HEAD:
        return None, 0
    command, family, length = _FIXED.unpack_from(data, len(_SIGNATURE))
    if command not in (_PROXY, _LOCAL):
        raise ProxyHeaderError(f"version and command are {command:#x}")
    if len(data) < _HEAD + length:
        return None, 0
    if command == _LOCAL or family not in _ADDRESSES:
        return None, _HEAD + length
    kind, layout = _ADDRESSES[family]
    if length < layout.size:
        raise ProxyHeaderError(f"its addresses have {length} bytes")
    client, _, port, _ = layout.unpack_from(data, _HEAD)
    return (socket.inet_ntop(kind, client), port), _HEAD + length


class FrontedConnection(asyncio.Protocol):
    """Reads the client's address, then gives the connection to the protocol that serves it.

    Args:
        make: a protocol for a new connection.
    """

    def __init__(self, make: Callable[[], FrontDoorProtocol]) -> None:
        self._make = make
        self._read = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        try:
            client, length = read_proxy_header(self._read)
        except ProxyHeaderError as err:
            logger.warning("a connection to the front's socket is not from a front", reason=str(err))
            self._transport.abort()
            return
        if not length:
            return
        protocol = self._make()
        self._transport.set_protocol(protocol)
        protocol.open(self._transport, client, "https")
        if len(self._read) > length:
            protocol.data_received(self._read[length:])


async def listen_to_front(path: Path, make: Callable[[], FrontDoorProtocol]) -> asyncio.Server:
    """Listen on a unix socket that only this user can open; one that is left of an earlier process is replaced."""
    sock = _bind(path)
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(lambda: FrontedConnection(make), sock=sock, backlog=_BACKLOG)


def _bind(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(before)
    return sock
