"""An object store in a folder: objects are files, written beside the folder's tree and then put in place."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from penstock_common.errors import PenstockError
from penstock_common.object_store.store import CHUNK, ObjectInfo

#: Folder of files that are being written; what a crash left there is never read.
UNFINISHED = "tmp"


class FolderStore:
    """Files below ``root``. A file and the folders that lead to it are on disk before a write returns.

    All writes raise ``PenstockError`` 507 ``disk-full`` if there is no space left, and leave nothing behind.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / UNFINISHED).mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        return self.root / key

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    async def create(self, key: str, data: bytes) -> bool:
        return await asyncio.to_thread(self._write, key, data, replace=False)

    async def put(self, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._write, key, data, replace=True)

    async def get(self, key: str) -> bytes | None:
        try:
            return await asyncio.to_thread(self.path(key).read_bytes)
        except FileNotFoundError:
            return None

    async def info(self, key: str) -> ObjectInfo | None:
        return await asyncio.to_thread(self._info, key)

    async def list_objects(self, folder: str, after: str = "") -> list[ObjectInfo]:
        return await asyncio.to_thread(self._list_objects, folder, after)

    async def list_folders(self, folder: str) -> list[str]:
        return await asyncio.to_thread(self._list_folders, folder)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self.path(key).unlink, missing_ok=True)

    async def read(self, key: str, size: int) -> AsyncIterator[bytes]:
        with await asyncio.to_thread(self.path(key).open, "rb") as file:
            for start in range(0, size, CHUNK):
                yield await asyncio.to_thread(file.read, min(CHUNK, size - start))

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Write or replace an object chunk by chunk; if ``chunks`` raises, nothing is written."""
        with self._unfinished_file() as (file, unfinished):
            async for chunk in chunks:
                await asyncio.to_thread(self._write_chunk, file, chunk)
            await asyncio.to_thread(self._put_in_place, file, unfinished, key, replace=True)

    def _write(self, key: str, data: bytes, *, replace: bool) -> bool:
        if not replace and self.path(key).exists():
            return False
        with self._unfinished_file() as (file, unfinished):
            self._write_chunk(file, data)
            return self._put_in_place(file, unfinished, key, replace=replace)

    @contextlib.contextmanager
    def _unfinished_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        path = self.root / UNFINISHED / uuid.uuid4().hex
        with self._disk_full_refused():
            file = path.open("xb", buffering=0)
        try:
            with file:
                yield file, path
        finally:
            path.unlink(missing_ok=True)

    def _write_chunk(self, file: BinaryIO, data: bytes) -> None:
        with self._disk_full_refused():
            rest = memoryview(data)
            while rest:  # an unbuffered write may take a part
                rest = rest[file.write(rest) :]

    def _put_in_place(self, file: BinaryIO, unfinished: Path, key: str, *, replace: bool) -> bool:
        target = self.path(key)
        with self._disk_full_refused():
            os.fsync(file.fileno())
            self._make_folders(target.parent)
            if replace:
                unfinished.replace(target)
            else:
                try:
                    target.hardlink_to(unfinished)
                except FileExistsError:
                    return False
            _sync_folder(target.parent)
        return True

    def _make_folders(self, folder: Path) -> None:
        missing = [f for f in (folder, *folder.parents) if not f.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            _sync_folder(made.parent)

    @contextlib.contextmanager
    def _disk_full_refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            if err.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full(self.root) from None
            raise

    def _info(self, key: str) -> ObjectInfo | None:
        try:
            return _describe(key, self.path(key).stat())
        except FileNotFoundError:
            return None

    def _list_objects(self, folder: str, after: str) -> list[ObjectInfo]:
        found = []
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path(folder)) as files:
            for file in files:
                key = f"{folder}/{file.name}"
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    if key > after and file.is_file():
                        found.append(_describe(key, file.stat()))
        return sorted(found, key=lambda info: info.key)

    def _list_folders(self, folder: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path(folder)) as files:
            return sorted(file.name for file in files if file.is_dir())
        return []


def disk_full(root: Path, kept: str = "") -> PenstockError:
    """The 507 for a disk without room; ``kept`` says what is kept free of it."""
    text = f"The disk of the object store ({root}) is full{kept}; free space on it, then try again."
    return PenstockError(507, "disk-full", text)


def _describe(key: str, stat: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, stat.st_size, stat.st_mtime, f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
