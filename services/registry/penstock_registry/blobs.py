"""Content-addressed blobs: ``blobs/sha256/<digest>``, immutable, never whole in memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Literal

import obstore
from obstore.store import ObjectStore

from penstock_common.errors import PenstockError
from penstock_common.registry_models import FileRef, Target
from penstock_registry.store import PRESIGNING

CHUNK = 1024 * 1024
_URLS_LAST = timedelta(hours=1)


class Blobs:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.presigns = isinstance(store, PRESIGNING)
        #: Digests whose bytes this process has seen to be right; a blob never changes.
        self._verified: set[str] = set()

    async def size(self, digest: str) -> int | None:
        """Bytes of a blob; None where there is none."""
        try:
            return (await obstore.head_async(self._store, _path(digest)))["size"]
        except FileNotFoundError:
            return None

    async def upload_target(self, file: FileRef) -> Target:
        present = await self.size(file.sha256) == file.size
        return Target(file.path, file.sha256, file.size, await self._url("PUT", file.sha256), present=present)

    async def download_target(self, file: FileRef) -> Target:
        return Target(file.path, file.sha256, file.size, await self._url("GET", file.sha256))

    async def signed_get(self, digest: str) -> str:
        return await self._url("GET", digest)

    async def _url(self, method: Literal["GET", "PUT"], digest: str) -> str:
        if isinstance(self._store, PRESIGNING):
            return await obstore.sign_async(self._store, method, _path(digest), _URLS_LAST)
        return f"/v1/blobs/sha256/{digest}"

    async def write(self, digest: str, chunks: AsyncIterator[bytes]) -> bool:
        """Store a blob chunk by chunk.

        Returns:
            False where it was there already.

        Raises:
            PenstockError: 422 ``wrong-digest``; nothing is stored then.
        """
        if await self.size(digest) is not None:
            async for _ in chunks:
                pass
            return False
        sha = hashlib.sha256()

        async def hashed() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                sha.update(chunk)
                yield chunk
            if sha.hexdigest() != digest:
                # Raised inside the stream, so the upload is abandoned before it becomes visible.
                raise PenstockError(
                    422, "wrong-digest", f"The bytes have sha256 {sha.hexdigest()}, not {digest}; upload them again."
                )

        try:
            await obstore.put_async(self._store, _path(digest), hashed(), chunk_size=CHUNK, max_concurrency=1)
        except Exception:
            if sha.hexdigest() != digest:
                raise PenstockError(
                    422, "wrong-digest", f"The bytes have sha256 {sha.hexdigest()}, not {digest}; upload them again."
                ) from None
            raise
        self._verified.add(digest)
        return True

    async def read(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Bytes ``start`` to ``end`` (exclusive) in bounded chunks."""
        at = start
        while at < end:
            stop = min(at + CHUNK, end)
            yield bytes(await obstore.get_range_async(self._store, _path(digest), start=at, end=stop))
            at = stop

    async def verify(self, file: FileRef) -> str | None:
        """What is wrong with the blob of a file; None where it is as declared."""
        size = await self.size(file.sha256)
        if size is None:
            return f"{file.path}: its blob {file.sha256} was not uploaded"
        if size != file.size:
            return f"{file.path}: {file.size} bytes were declared, the blob has {size}"
        if file.sha256 not in self._verified:
            sha = hashlib.sha256()
            async for chunk in self.read(file.sha256, 0, size):
                sha.update(chunk)
            if sha.hexdigest() != file.sha256:
                return f"{file.path}: the blob's bytes have sha256 {sha.hexdigest()}, not {file.sha256}"
            self._verified.add(file.sha256)
        return None


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest}"
