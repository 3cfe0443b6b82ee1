"""Sends messages to a model's process, which may read them later than they are sent."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Sequence

import msgspec

from penstock_inference.runners.wire import FromServer

_encode = msgspec.msgpack.Encoder().encode


class PacketSender:
    """Keeps messages in their order, on the running loop.

    Args:
        connection: a socket of packets that does not block.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()

    def send(self, message: FromServer, fds: Sequence[int]) -> None:
        """Send a message, now or when its process has read others, and close the descriptors."""
        self._unsent.append((_encode(message), fds))
        if len(self._unsent) == 1:
            self._flush()

    def close(self) -> None:
        """Drop what waits; call it before the connection is closed."""
        self._loop.remove_writer(self._connection.fileno())
        self._drop_unsent()

    def _flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self._unsent:
            data, fds = self._unsent[0]
            try:
                if fds:
                    socket.send_fds(self._connection, [data], list(fds))
                else:
                    self._connection.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._connection.fileno(), self._flush_rest)
                return
            except OSError:  # the process has ended
                self._drop_unsent()
                return
            self._unsent.popleft()
            for fd in fds:
                os.close(fd)

    def _flush_rest(self) -> None:
        self._loop.remove_writer(self._connection.fileno())
        self._flush()

    def _drop_unsent(self) -> None:
        for _, fds in self._unsent:
            for fd in fds:
                os.close(fd)
        self._unsent.clear()
