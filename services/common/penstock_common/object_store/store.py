"""The seam of object stores: what the services need of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

CHUNK = 1024 * 1024  # bytes


class ObjectInfo(msgspec.Struct, frozen=True):
    """An object without its bytes. ``stamp`` changes whenever the object is written."""

    key: str
    size: int  # bytes
    modified: float  # seconds since 1970
    stamp: str


class ObjectStore(Protocol):
    """Objects by key, e.g. ``models/spam/log/00000001.json``; a write is whole and durable, or did not happen."""

    async def create(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none; return whether it was written."""

    async def put(self, key: str, data: bytes) -> None:
        """Write an object, or replace it."""

    async def get(self, key: str) -> bytes | None:
        """The bytes of an object, or None if there is none."""

    async def info(self, key: str) -> ObjectInfo | None:
        """Size and age of an object, or None if there is none."""

    async def list_objects(self, folder: str, after: str = "") -> list[ObjectInfo]:
        """The objects directly in ``folder`` whose keys sort after ``after``, by key."""

    async def list_folders(self, folder: str) -> list[str]:
        """The names of the folders directly in ``folder``, sorted."""

    async def delete(self, key: str) -> None:
        """Remove an object, if there is one."""

    def read(self, key: str, size: int) -> AsyncIterator[bytes]:
        """All ``size`` bytes of an object, in chunks of at most ``CHUNK`` bytes."""

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Write or replace an object chunk by chunk; if ``chunks`` raises, nothing is written."""
