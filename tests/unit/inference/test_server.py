"""The gRPC server of a pod, as Envoy's connections see it."""

from __future__ import annotations

import asyncio

import grpc

from penstock_inference.server import GRPC_OPTIONS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1


def frame(kind: int, payload: bytes = b"") -> bytes:
    """An HTTP/2 frame of stream 0 (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + bytes(4) + payload


async def test_pings_without_calls_are_answered() -> None:
    """However many come: Envoy pings each second, and a pod that stood still finds many at once."""
    server = grpc.aio.server(options=GRPC_OPTIONS)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS))
    async with asyncio.timeout(10):
        for n in range(20):
            writer.write(frame(PING, bytes([n] * 8)))
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                assert head[3] != GOAWAY
                if head[3] == PING and head[4] == ACK:
                    break
    writer.close()
    await server.stop(None)
