"""The fetched files of versions on the pod's disk, by what they are and not by what they are called.

A folder's name is the digest of its files' digests. A registry that was wiped may give
the name and the number of an old version to another one, which is then another folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Set
from pathlib import Path
from weakref import WeakValueDictionary

import structlog

from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import FileRef, Version

log = structlog.get_logger()


def artifact_digest(version: Version) -> str:
    """Return the SHA-256, in hex, of the paths, sizes and digests of a version's files."""
    lines = sorted(f"{file.sha256} {file.size} {file.path}\n" for file in version.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class ArtifactCache:
    """A folder for each artifact; the folder of the cache is this pod's alone.

    Args:
        root: the folder of the cache.
        max_unused_bytes: the bytes of artifacts that are kept though no version on the pod uses them.
    """

    def __init__(self, registry: RegistryClient, root: Path, max_unused_bytes: int) -> None:
        self._registry = registry
        self._root = root
        self._max_unused_bytes = max_unused_bytes
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        for partial in root.glob(".*"):  # of a fetch in which the process was killed
            shutil.rmtree(partial, ignore_errors=True)

    async def fetch(self, version: Version) -> Path:
        """Return the folder of a version's files, whose digests were verified; fetch it if it is absent or damaged.

        Raises:
            PenstockError: what ``RegistryClient.fetch`` raises.
        """
        digest = artifact_digest(version)
        async with self._fetching.setdefault(digest, asyncio.Lock()):  # two versions can be one artifact
            return await self._fetch(version, self._root / digest)

    async def _fetch(self, version: Version, folder: Path) -> Path:
        if await asyncio.to_thread(folder.exists):
            damaged = await asyncio.to_thread(_first_damaged, folder, version.files)
            if damaged is None:
                await asyncio.to_thread(folder.touch)
                return folder
            log.warning("damaged file in the cache", model=version.model, version=version.version, path=damaged)
            await asyncio.to_thread(shutil.rmtree, folder)
        await self._registry.fetch(version, folder)
        return folder

    async def trim(self, used: Set[str]) -> None:
        """Delete artifacts that are not ``used``, those unused for longest first, until the rest is small enough.

        Args:
            used: digests.
        """
        await asyncio.to_thread(self._trim, used)

    def _trim(self, used: Set[str]) -> None:
        unused = [folder for folder in self._root.glob("[!.]*") if folder.is_dir() and folder.name not in used]
        unused.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
        kept = 0
        for folder in unused:
            kept += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if kept > self._max_unused_bytes:
                shutil.rmtree(folder)
                log.info("deleted from the cache", artifact=folder.name)


def _first_damaged(folder: Path, files: list[FileRef]) -> str | None:
    """Return the path of the first file that is missing or not the registered one; None if all are right."""
    for file in files:
        path = folder / file.path
        if not path.is_file() or path.stat().st_size != file.size:
            return file.path
        with path.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                return file.path
    return None
