"""The server, as a model's process sees it."""

from __future__ import annotations

import os
import select
import socket
from collections import deque

import msgspec

from penstock_inference.runners.shared_tensors import SharedMemory
from penstock_inference.runners.wire import MAX_PACKET, FromProcess, FromServer, Room, TooSmall

Packet = tuple[FromServer, list[int]]

_decode = msgspec.msgpack.Decoder(FromServer).decode
_encode = msgspec.msgpack.Encoder().encode


class ServerConnection:
    """This side of the process's socket; the process ends when the server closes the other one."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._early: deque[Packet] = deque()

    def send(self, message: FromProcess) -> None:
        os.write(self._connection.fileno(), _encode(message))

    def receive(self) -> Packet:
        """Wait for the next message; return it and the descriptors that came beside it."""
        if self._early:
            return self._early.popleft()
        return self._next()

    def receive_now(self) -> Packet | None:
        """Return the next message if it is there already."""
        if self._early:
            return self._early.popleft()
        ready, _, _ = select.select([self._connection], [], [], 0)  # socket.recv_fds ignores its flags
        return self._next() if ready else None

    def ask_for_room(self, size: int) -> SharedMemory | None:
        """Return memory for outputs from the server; None if it gives none. What else it says meanwhile comes later."""
        self.send(TooSmall(size))
        early = []
        while not isinstance((packet := self.receive())[0], Room):
            early.append(packet)
        self._early.extend(early)
        room, fds = packet
        assert isinstance(room, Room)
        return map_memory(fds.pop(0), room.outputs_bytes) if room.outputs_bytes else None

    def _next(self) -> Packet:
        data, fds, _, _ = socket.recv_fds(self._connection, MAX_PACKET, 2)
        if not data:  # the server has gone, or wants this process to go
            os._exit(0)
        return _decode(data), fds


def map_memory(fd: int, size: int) -> SharedMemory:
    """Map memory from the server, and close its descriptor."""
    memory = SharedMemory(fd, size)
    os.close(fd)
    return memory
