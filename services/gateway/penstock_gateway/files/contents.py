"""The object store of the gateway's files and of the parts of batches; errors of the store become refusals."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import structlog

from penstock_common.errors import PenstockError
from penstock_common.object_store.store import ObjectStore

logger = structlog.get_logger()


class Contents:
    """Objects by key.

    All methods raise ``PenstockError`` 503 ``file-store-away`` if the store cannot be used, and 507 ``disk-full`` if
    that is why.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def create(self, key: str, data: bytes) -> bool:
        """Write an object only if there is none; whether it was written."""
        with _errors_translated():
            return await self._store.create(key, data)

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Write or replace an object chunk by chunk; how many bytes it has.

        What ``chunks`` raises is raised, and nothing is written.
        """
        size = 0
        failure: BaseException | None = None

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size, failure
            try:
                async for chunk in chunks:
                    size += len(chunk)
                    yield chunk
            except BaseException as err:
                failure = err
                raise

        try:
            with _errors_translated():
                await self._store.put_stream(key, counted())
        except PenstockError:
            if failure is not None:  # obstore raises an error of its own instead
                raise failure from None
            raise
        return size

    async def size(self, key: str) -> int | None:
        """Bytes of an object, or None if there is none."""
        with _errors_translated():
            info = await self._store.info(key)
        return None if info is None else info.size

    async def read(self, key: str, size: int) -> AsyncGenerator[bytes, None]:
        """All ``size`` bytes of an object, chunk by chunk.

        Raises:
            FileNotFoundError: there is no such object.
        """
        chunks = self._store.read(key, size)
        while True:
            with _errors_translated():
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk

    async def list_sizes(self, folder: str) -> list[tuple[str, int]]:
        """Key and bytes of each object in a folder, by key."""
        with _errors_translated():
            return [(info.key, info.size) for info in await self._store.list_objects(folder)]

    async def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        with _errors_translated():
            await self._store.delete(key)


@contextlib.contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except (PenstockError, FileNotFoundError):
        raise
    except Exception as err:  # a bucket's errors have no type that a folder's program would know
        logger.warning("the store of files cannot be used", error=str(err)[:500])
        text = "The store of files cannot be used at present; try again."
        raise PenstockError(503, "file-store-away", text, headers={"Retry-After": "5"}) from None
