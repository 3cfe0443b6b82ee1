"""What passes between the gateway and a decoder process.

A message is its length in four bytes, little-endian, its head in MessagePack, and the bytes that the head
announces: the body of a job, the raw tensors of a result.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS, RequestBounds

LENGTH = struct.Struct("<I")


class Job(msgspec.Struct):
    """A body to decode.

    ``protocol`` names who decodes it, ``manifest`` is the model's in MessagePack, ``json_length`` the bytes of the
    body's JSON part, None if all of it is JSON. ``bounds`` are those of its signature.
    """

    protocol: str
    manifest: bytes
    size: int  # bytes of the body, which follows
    json_length: int | None = None
    bounds: RequestBounds = DEFAULT_BOUNDS


class Refusal(msgspec.Struct):
    """A ``PenstockError``."""

    status: int
    code: str
    detail: str
    headers: dict[str, str]
    extra: dict[str, Any]


class Result(msgspec.Struct):
    """Decoded rows, with what else the protocol read; or why there are none."""

    sizes: list[int] = []  # bytes of each raw tensor, which follow
    count: int = 0
    is_list: bool = False
    shapes: tuple[tuple[int, ...] | None, ...] | None = None  # as of Rows
    request: bytes = b""  # the protocol's own, in MessagePack
    refusal: Refusal | None = None


def pack(head: Job | Result, blobs: Sequence[bytes]) -> list[bytes]:
    """The pieces of a message."""
    encoded = msgspec.msgpack.encode(head)
    return [LENGTH.pack(len(encoded)), encoded, *blobs]
