"""An object store in a bucket of S3, Google Cloud Storage or Azure Blob Storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import AzureStore, GCSStore, S3Store

from penstock_common.object_store.store import CHUNK, ObjectInfo

_SCHEMES: dict[str, type[S3Store | GCSStore | AzureStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
_URL_LIFETIME = timedelta(hours=1)
_PAGE = 1000  # keys in one answer to a listing
_PARTS_AT_ONCE = 2  # of 5 MB each, in memory

#: Headers of an upload by URL.
_UPLOAD: dict[str, dict[str, str]] = {"s3": {}, "az": {"x-ms-blob-type": "BlockBlob"}, "gs": {}}


class BucketStore:
    """Objects of one bucket, below the prefix in ``url``. Errors of the store are those of obstore."""

    def __init__(self, url: str) -> None:
        self._scheme = urlsplit(url).scheme
        self._bucket = _SCHEMES[self._scheme].from_url(url)

    async def create(self, key: str, data: bytes) -> bool:
        try:
            await obstore.put_async(self._bucket, key, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    async def put(self, key: str, data: bytes) -> None:
        await obstore.put_async(self._bucket, key, data)

    async def get(self, key: str) -> bytes | None:
        try:
            result = await obstore.get_async(self._bucket, key)
        except FileNotFoundError:
            return None
        return bytes(await result.bytes_async())

    async def info(self, key: str) -> ObjectInfo | None:
        try:
            return _describe(await obstore.head_async(self._bucket, key))
        except FileNotFoundError:
            return None

    async def list_objects(self, folder: str, after: str = "") -> list[ObjectInfo]:
        stream = obstore.list(self._bucket, folder, offset=after or None, chunk_size=_PAGE)
        found = [_describe(meta) for meta in await stream.collect_async()]
        return sorted((o for o in found if "/" not in o.key.removeprefix(f"{folder}/")), key=lambda info: info.key)

    async def list_folders(self, folder: str) -> list[str]:
        listing = await obstore.list_with_delimiter_async(self._bucket, folder)
        return sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in listing["common_prefixes"])

    async def delete(self, key: str) -> None:
        await obstore.delete_async(self._bucket, key)

    async def read(self, key: str, size: int) -> AsyncIterator[bytes]:
        result = await obstore.get_async(self._bucket, key)
        async for chunk in result.stream(min_chunk_size=CHUNK):
            yield bytes(chunk)

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Write or replace an object chunk by chunk; if ``chunks`` raises, nothing is written."""
        await obstore.put_async(self._bucket, key, chunks, max_concurrency=_PARTS_AT_ONCE)

    async def sign(self, method: Literal["GET", "PUT"], key: str) -> str:
        """A URL with which anybody can get or put an object for an hour."""
        return await obstore.sign_async(self._bucket, method, key, _URL_LIFETIME)

    def upload_headers(self) -> dict[str, str]:
        """Headers to send with a PUT to a signed URL."""
        return _UPLOAD[self._scheme]


def _describe(meta: obstore.ObjectMeta) -> ObjectInfo:
    modified = meta["last_modified"].timestamp()
    return ObjectInfo(meta["path"], meta["size"], modified, f"{meta['e_tag']}-{modified}-{meta['size']}")
