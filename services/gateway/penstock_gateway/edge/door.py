"""The connections of one gateway: how many there are, and which have taken too long."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Protocol

import structlog
from prometheus_client import Counter, Gauge

from penstock_common.errors import PenstockError
from penstock_gateway.edge.bounds import Bounds, too_many_connections, too_many_from_address

logger = structlog.get_logger()

REFUSED = Counter(
    "penstock_gateway_connections_refused_total",
    "Connections that were closed for a bound, by the setting that names it; open_files is the system's own.",
    ["bound"],
)
CONNECTIONS = Gauge("penstock_gateway_connections", "Open connections of clients.")

#: Seconds between two looks at all connections; the precision of their timeouts.
LOOK_SECONDS = 0.25
#: Seconds between two lines in the log about the same bound.
_LOG_SECONDS = 1.0
_MAPPED_IPV4 = bytes(10) + b"\xff\xff"


class Connection(Protocol):
    """What the door needs of a connection."""

    #: When its present phase began, on the loop's clock.
    since: float
    #: Index of its phase in ``Door.patience``.
    phase: int

    def out_of_time(self) -> None:
        """Its phase has lasted longer than it may."""


class Door:
    """Counts connections, and looks at all of them a few times a second.

    One look at all costs less than a timer for each: to arm and cancel one takes a twentieth of the
    gateway's time (2 of 42 us a request), a look 0.1 us a connection.

    Args:
        patience: seconds that each phase of a connection may last.
    """

    def __init__(self, bounds: Bounds, patience: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._patience = patience
        self._connections: set[Connection] = set()
        self._of_address: dict[bytes, int] = {}
        self._unlogged: dict[str, int] = {}
        self._log_at = 0.0

    def admit(self, connection: Connection, address: bytes) -> PenstockError | None:
        """Count a new connection, or say why there may not be one more."""
        bounds = self.bounds
        if len(self._connections) >= bounds.max_connections:
            return too_many_connections(bounds)
        of_address = self._of_address.get(address, 0)
        if of_address >= bounds.max_connections_per_address:
            return too_many_from_address(bounds)
        self._of_address[address] = of_address + 1
        self._connections.add(connection)
        CONNECTIONS.inc()
        return None

    def leave(self, connection: Connection, address: bytes) -> None:
        """An admitted connection is closed."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        CONNECTIONS.dec()
        left = self._of_address[address] - 1
        if left:
            self._of_address[address] = left
        else:
            del self._of_address[address]

    def refused(self, bound: str) -> None:
        """Count a connection that is closed for ``bound``; the log gets one line a second for each bound."""
        REFUSED.labels(bound).inc()
        self._unlogged[bound] = self._unlogged.get(bound, 0) + 1

    async def watch(self) -> None:
        """Look after the connections until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look(loop.time())

    def look(self, now: float) -> None:
        """Tell the connections whose time is up at ``now``, on the loop's clock."""
        patience = self._patience
        for connection in list(self._connections):
            if now - connection.since > patience[connection.phase]:
                connection.out_of_time()
        if not _can_open_files():
            # libuv then closes new connections at once, and tells nobody.
            self.refused("open_files")
        if self._unlogged and now >= self._log_at:
            for bound, count in self._unlogged.items():
                logger.warning("connections refused", bound=bound, count=count, open=len(self._connections))
            self._unlogged = {}
            self._log_at = now + _LOG_SECONDS


def address_of(client: tuple[str, int] | None) -> bytes:
    """The part of a client's address that stands for one site: IPv4 whole, the first 64 bits of IPv6."""
    if client is None:
        return b""
    try:
        if ":" not in client[0]:
            return socket.inet_aton(client[0])
        packed = socket.inet_pton(socket.AF_INET6, client[0].partition("%")[0])
    except OSError:
        return client[0].encode()
    return packed[12:] if packed.startswith(_MAPPED_IPV4) else packed[:8]


def _can_open_files() -> bool:
    try:
        os.close(os.dup(2))
    except OSError:
        return False
    return True
