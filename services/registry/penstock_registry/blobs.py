"""Content-addressed blobs: ``blobs/sha256/<digest>``, immutable, never whole in memory."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import obstore
from obstore.store import LocalStore

from penstock_common.errors import PenstockError
from penstock_common.registry_models import FileRef, Target
from penstock_registry.object_store import Bucket

_CHUNK = 1024 * 1024
_URL_LIFETIME = timedelta(hours=1)


class Blobs:
    """The blobs of one store.

    A bucket hands out presigned URLs, so that bytes never pass through the registry. The
    blobs of a local folder are sent and received by the registry itself.
    """

    def __init__(self, store: LocalStore | Bucket) -> None:
        self._store = store
        self.presigns = not isinstance(store, LocalStore)
        #: Digests that this process has checked against the stored bytes; a blob never changes.
        self._verified: set[str] = set()

    async def size(self, digest: str) -> int | None:
        """The size of a blob in bytes, or None if there is none."""
        try:
            return (await obstore.head_async(self._store, _key(digest)))["size"]
        except FileNotFoundError:
            return None

    async def upload_target(self, file: FileRef) -> Target:
        present = await self.size(file.sha256) == file.size
        return Target(file.path, file.sha256, file.size, await self.url("PUT", file.sha256), present=present)

    async def download_target(self, file: FileRef) -> Target:
        return Target(file.path, file.sha256, file.size, await self.url("GET", file.sha256))

    async def url(self, method: Literal["GET", "PUT"], digest: str) -> str:
        """Where a client sends or gets a blob: a presigned URL, or a path of this registry."""
        if isinstance(self._store, LocalStore):
            return f"/v1/blobs/sha256/{digest}"
        return await obstore.sign_async(self._store, method, _key(digest), _URL_LIFETIME)

    def local_file(self, digest: str) -> Path | None:
        """The file of a blob, or None if the store is a bucket."""
        if isinstance(self._store, LocalStore) and self._store.prefix is not None:
            return self._store.prefix / _key(digest)
        return None

    async def write(self, digest: str, chunks: AsyncIterator[bytes]) -> bool:
        """Store a blob chunk by chunk.

        Returns:
            False if the blob was there already.

        Raises:
            PenstockError: 422 ``wrong-digest``; nothing is stored then.
        """
        if await self.size(digest) is not None:
            async for _ in chunks:
                pass
            return False
        sha = hashlib.sha256()

        async def checked() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                sha.update(chunk)
                yield chunk
            if sha.hexdigest() != digest:
                # Raised inside the stream, so that the store abandons the upload before it becomes visible.
                raise PenstockError(
                    422, "wrong-digest", f"The bytes have sha256 {sha.hexdigest()}, not {digest}; upload them again."
                )

        await obstore.put_async(self._store, _key(digest), checked(), chunk_size=_CHUNK, max_concurrency=1)
        self._verified.add(digest)
        return True

    async def read(self, digest: str, size: int) -> AsyncIterator[bytes]:
        """All ``size`` bytes of a blob, in bounded chunks."""
        # Not obstore's stream: it reads local files 8 KiB at a time, at a fifth of the speed.
        for start in range(0, size, _CHUNK):
            end = min(start + _CHUNK, size)
            yield bytes(await obstore.get_range_async(self._store, _key(digest), start=start, end=end))

    async def verify(self, file: FileRef) -> str | None:
        """What is wrong with the blob of a file, or None if it is as declared."""
        size = await self.size(file.sha256)
        if size is None:
            return f"{file.path}: its blob {file.sha256} was not uploaded"
        if size != file.size:
            return f"{file.path}: {file.size} bytes were declared, the blob has {size}"
        if file.sha256 not in self._verified:
            sha = hashlib.sha256()
            async for chunk in self.read(file.sha256, size):
                sha.update(chunk)
            if sha.hexdigest() != file.sha256:
                return f"{file.path}: the blob's bytes have sha256 {sha.hexdigest()}, not {file.sha256}"
            self._verified.add(file.sha256)
        return None


def _key(digest: str) -> str:
    return f"blobs/sha256/{digest}"
