"""Files of the gateway's callers, each kept until it expires or its key deletes it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

from penstock_common.errors import PenstockError
from penstock_gateway.database.threads import DatabaseThreads
from penstock_gateway.files.contents import Contents
from penstock_gateway.files.file_bounds import FileBounds
from penstock_gateway.files.file_record import BATCH_OUTPUT, FileRecord, check_file_id, new_file_id, unknown_file
from penstock_gateway.files.file_table import (
    count_files,
    delete_file,
    expired_files,
    finish,
    insert_unfinished,
    insert_whole,
    list_files,
    read_file,
)

DAY = 86400.0
#: How long an upload may be unfinished before its rest is collected; longer than any request may take.
_UNFINISHED_SECONDS = 3600.0
_COLLECT_SECONDS = 300.0
_COLLECTED_AT_ONCE = 100


class Files:
    """A file that another key made is as unknown as one that never was.

    All methods raise ``PenstockError`` 503 ``file-store-away`` while the database or the object store cannot be used.
    """

    def __init__(
        self, database: DatabaseThreads, contents: Contents, bounds: FileBounds, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._contents = contents
        self._bounds = bounds
        self._clock = clock

    async def receive(self, principal: str, chunks: AsyncIterator[bytes], declared: int) -> tuple[str, int]:
        """Keep the contents of a new file, which nobody sees before ``publish``; its id and bytes.

        Args:
            declared: bytes that are announced; 0 if none are.

        Raises:
            PenstockError: 413 ``file-too-large`` or ``files-full``, and what ``chunks`` raises; nothing is kept then.
        """
        room = await self._room(principal)
        if declared:
            self._check(declared, room)

        async def bounded() -> AsyncIterator[bytes]:
            size = 0
            async for chunk in chunks:
                size += len(chunk)
                self._check(size, room)
                yield chunk

        file_id, now = new_file_id(), self._clock()
        await self._database.use(
            lambda connection: insert_unfinished(connection, file_id, principal, now, now + _UNFINISHED_SECONDS)
        )
        try:
            return file_id, await self._contents.write(content_key(file_id), bounded())
        except BaseException:
            await self.discard(file_id)
            raise

    async def publish(
        self, file_id: str, principal: str, size: int, filename: str, purpose: str, expires_seconds: float | None
    ) -> FileRecord:
        """Make a received file one of its key's.

        Args:
            expires_seconds: after which it expires, if that is sooner than files do anyway.

        Raises:
            PenstockError: 413 ``files-full``: other files came meanwhile.
        """
        self._check(size, await self._room(principal))
        record = self._record(file_id, principal, size, filename, purpose, expires_seconds)
        await self._database.use(lambda connection: finish(connection, record))
        return record

    async def discard(self, file_id: str) -> None:
        """Forget a received file; if that fails, it is collected later."""
        with contextlib.suppress(PenstockError):
            await self._remove(file_id)

    async def add_output(
        self, file_id: str, principal: str, filename: str, chunks: AsyncIterator[bytes], expires_seconds: float | None
    ) -> None:
        """Write a file that the gateway makes for a key, whatever room is left; doing it again replaces its contents."""
        size = await self._contents.write(content_key(file_id), chunks)
        record = self._record(file_id, principal, size, filename, BATCH_OUTPUT, expires_seconds)
        await self._database.use(lambda connection: insert_whole(connection, record))

    async def show(self, principal: str, file_id: str) -> FileRecord:
        """The record of a file.

        Raises:
            PenstockError: 404 ``unknown-file``.
        """
        check_file_id(file_id)
        record = await self._database.use(lambda connection: read_file(connection, principal, file_id, self._clock()))
        if record is None:
            raise unknown_file(file_id)
        return record

    async def find(
        self, principal: str, *, purpose: str | None, after: str | None, newest_first: bool, limit: int
    ) -> list[FileRecord]:
        """Up to ``limit`` files of a key, behind the one with the id ``after``.

        Raises:
            PenstockError: 404 ``unknown-file`` for ``after``.
        """
        behind = None if after is None else await self.show(principal, after)
        return await self._database.use(
            lambda connection: list_files(
                connection,
                principal,
                self._clock(),
                purpose=purpose,
                after=behind,
                newest_first=newest_first,
                limit=limit,
            )
        )

    def read(self, record: FileRecord) -> AsyncIterator[bytes]:
        """The contents of a file, chunk by chunk.

        Raises:
            FileNotFoundError: it was deleted meanwhile.
        """
        return self._contents.read(content_key(record.id), record.size)

    async def delete(self, principal: str, file_id: str) -> None:
        """Delete a file for good.

        Raises:
            PenstockError: 404 ``unknown-file``.
        """
        await self.show(principal, file_id)
        await self._remove(file_id)

    async def collect(self) -> None:
        """Remove the files whose time is over, and what interrupted uploads left."""
        while True:
            ids = await self._database.use(
                lambda connection: expired_files(connection, self._clock(), _COLLECTED_AT_ONCE)
            )
            for file_id in ids:
                await self._remove(file_id)
            if len(ids) < _COLLECTED_AT_ONCE:
                return

    async def collect_periodically(self) -> None:
        """Collect every now and then, until cancelled."""
        while True:
            with contextlib.suppress(PenstockError):  # logged; the next time is soon enough
                await self.collect()
            await asyncio.sleep(_COLLECT_SECONDS)

    def _record(
        self, file_id: str, principal: str, size: int, filename: str, purpose: str, expires_seconds: float | None
    ) -> FileRecord:
        now, seconds = self._clock(), self._bounds.files_days * DAY
        if expires_seconds is not None:
            seconds = min(seconds, expires_seconds)
        return FileRecord(file_id, principal, now, now + seconds, size, filename, purpose)

    async def _room(self, principal: str) -> int:
        """Bytes that a key may still upload."""
        count, size = await self._database.use(lambda connection: count_files(connection, principal))
        if count > self._bounds.max_files_per_key:
            raise _files_full("max_files_per_key", self._bounds.max_files_per_key)
        return self._bounds.max_files_bytes_per_key - size

    def _check(self, size: int, room: int) -> None:
        if size > self._bounds.max_file_bytes:
            limit = self._bounds.max_file_bytes
            text = f"A file may have {limit} bytes (max_file_bytes); split it into several."
            raise PenstockError(
                413, "file-too-large", text, extra={"bound": "max_file_bytes", "limit": limit, "field": "file"}
            )
        if size > room:
            raise _files_full("max_files_bytes_per_key", self._bounds.max_files_bytes_per_key)

    async def _remove(self, file_id: str) -> None:
        await self._contents.delete(content_key(file_id))
        await self._database.use(lambda connection: delete_file(connection, file_id))


def content_key(file_id: str) -> str:
    """The key of a file's contents in the object store."""
    return f"files/{file_id}"


def _files_full(bound: str, limit: int) -> PenstockError:
    text = f"The files of this key have reached the bound {bound} = {limit}; delete some, or wait until they expire."
    return PenstockError(413, "files-full", text, extra={"bound": bound, "limit": limit})
