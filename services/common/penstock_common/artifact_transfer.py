"""Artifacts between folders and the registry's blobs, every file checked by its digest."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from penstock_common.errors import PenstockError
from penstock_common.registry_connection import RegistryConnection, raise_for_status
from penstock_common.registry_models import FileRef, Target, Targets, UploadRequest, Version

_CHUNK = 1024 * 1024
_UPLOAD_TIMEOUT = 300.0  # seconds; a store answers only after it has all bytes, the registry after it has read them


async def upload_artifact(
    connection: RegistryConnection, model: str, folder: Path, on_progress: Callable[[int], None] | None
) -> list[FileRef]:
    """Upload the files of a folder that the registry does not have yet.

    Args:
        on_progress: called with the size of each chunk sent, in bytes.

    Returns:
        All files of the folder, ready to be registered as a version.

    Raises:
        PenstockError: 422 ``bad-artifact`` if the folder has no files; the registry's own.
    """
    files = await asyncio.to_thread(_describe_files, folder)
    path = f"/v1/models/{model}/uploads"
    targets = await connection.call("POST", path, Targets, body=UploadRequest(files), timeout=_UPLOAD_TIMEOUT)
    for target in targets.files:
        if not target.present:
            await _upload(connection, target, folder / target.path, on_progress)
    return files


async def fetch_artifact(connection: RegistryConnection, version: Version, folder: Path) -> None:
    """Download an artifact into ``folder``, which appears complete and verified, or not at all.

    A folder that exists already is verified too, and fetched again if a file of it is not as registered.

    Raises:
        PenstockError: 503 ``corrupt-download`` if a file is not as registered; the registry's own.
    """
    if await asyncio.to_thread(_has_files, folder, version.files):
        return
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    targets = await connection.call("GET", f"/v1/models/{version.model}/versions/{version.version}/files", Targets)
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        for target in targets.files:
            await _download(connection, target, partial / target.path)
        await asyncio.to_thread(_move_into_place, partial, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)


def _has_files(folder: Path, files: list[FileRef]) -> bool:
    return folder.exists() and all(_is_file(folder / file.path, file) for file in files)


def _is_file(path: Path, file: FileRef) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _digest(path) == file.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _move_into_place(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError:
        if not folder.exists():  # else another process has fetched the same version in the meantime
            raise


def _describe_files(folder: Path) -> list[FileRef]:
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        files.append(FileRef(path.relative_to(folder).as_posix(), path.stat().st_size, _digest(path)))
    if not files:
        raise PenstockError(422, "bad-artifact", f"{folder} has no files; give the folder that holds model.yaml.")
    return files


async def _upload(
    connection: RegistryConnection, target: Target, path: Path, on_progress: Callable[[int], None] | None
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
                if on_progress is not None:
                    on_progress(len(chunk))

    headers = {"Content-Length": str(target.size), **target.headers}
    client = connection.client_for(target.url)
    with connection.translated_errors(target.url):
        response = await client.put(target.url, content=chunks(), headers=headers, timeout=_UPLOAD_TIMEOUT)
    raise_for_status(response)


async def _download(connection: RegistryConnection, target: Target, path: Path) -> None:
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    client = connection.client_for(target.url)
    sha = hashlib.sha256()
    size = 0
    with connection.translated_errors(target.url):
        async with client.stream("GET", target.url, headers=target.headers) as response:
            if response.is_error:
                await response.aread()
                raise_for_status(response)
            with await asyncio.to_thread(path.open, "wb") as file:
                async for chunk in response.aiter_bytes(_CHUNK):
                    sha.update(chunk)
                    size += len(chunk)
                    await asyncio.to_thread(file.write, chunk)
    if (size, sha.hexdigest()) != (target.size, target.sha256):
        raise PenstockError(
            503, "corrupt-download", f"{target.path}: {size} bytes with sha256 {sha.hexdigest()} arrived, "
            f"{target.size} with {target.sha256} were expected; fetch it again.",
        )  # fmt: skip
