"""Content-addressed blobs: ``blobs/sha256/<digest>``, immutable, never whole in memory."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_common.object_store.bucket_store import BucketStore
from penstock_common.object_store.folder_store import FolderStore, disk_full
from penstock_common.object_store.store import CHUNK, ObjectInfo
from penstock_common.registry_models import FileRef, Target

logger = structlog.get_logger()
WRONG = Counter("penstock_registry_wrong_blobs_total", "Blobs found whose bytes are not those of their digest.")

FOLDER = "blobs/sha256"
#: Where files arrive in a bucket, by the digests that they should have.
UPLOADS = "uploads/sha256"


class Blobs:
    """The blobs of one store.

    A bucket hands out presigned URLs, so that clients exchange bytes with the store itself. The
    blobs of a local folder are sent and received by the registry.

    A presigned PUT cannot be made conditional and is valid for an hour, so none is given for a blob: an upload
    to a bucket arrives elsewhere, and the registry writes it under its digest while it checks the bytes.

    Args:
        max_bytes: of one blob.
        min_free_bytes: what uploads leave free of a folder's disk.
        grace: seconds after which blobs that no version names are collected.
    """

    def __init__(
        self,
        store: FolderStore | BucketStore,
        *,
        max_bytes: int = 20 * 1024**3,
        min_free_bytes: int = 0,
        grace: float = 86400.0,
    ) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._grace = grace
        self.presigns = isinstance(store, BucketStore)
        #: Digests whose bytes this process has checked, with the stamps that the blobs had then.
        self._verified: dict[str, str] = {}

    async def info(self, digest: str) -> ObjectInfo | None:
        return await self._store.info(key(digest))

    def disk_is_full(self) -> bool:
        """Whether a folder's disk has only the space left that is kept for logs."""
        return isinstance(self._store, FolderStore) and self._store.free_bytes() <= self._min_free_bytes

    async def upload_target(self, file: FileRef, *, named: bool) -> Target:
        """Where to send a file, or that its blob is present.

        A blob that no version names (``named``) counts as absent from the middle of its grace on, so that it
        is young again before it is committed. A blob with wrong bytes counts as absent too, and is replaced.

        Raises:
            PenstockError: 413 ``blob-too-large``; 422 ``bad-request`` if a right blob has another size.
        """
        self._check_size(file.size)
        info = await self.info(file.sha256)
        good = info is not None and await self._bytes_are_right(file.sha256, info)
        if info is not None and good and info.size != file.size:
            raise PenstockError(
                422,
                "bad-request",
                f"files: {file.path}: {file.size} bytes are declared, {file.sha256} has {info.size}.",
            )
        if info is not None and good and (named or _age(info) < self._grace / 2):
            return Target(file.path, file.sha256, file.size, "", present=True)
        if not isinstance(self._store, BucketStore):
            return Target(file.path, file.sha256, file.size, _path(file.sha256))
        with contextlib.suppress(PenstockError):  # wrong bytes, which this upload replaces
            if await self._take_upload(file.sha256, self._store):  # of a push that was not finished
                return Target(file.path, file.sha256, file.size, "", present=True)
        url = await self._store.sign("PUT", _upload_key(file.sha256))
        return Target(file.path, file.sha256, file.size, url, self._store.upload_headers())

    async def download_target(self, file: FileRef) -> Target:
        return Target(file.path, file.sha256, file.size, await self.download_url(file.sha256))

    async def download_url(self, digest: str) -> str:
        """Where a client gets a blob: a presigned URL, or a path of this registry."""
        if isinstance(self._store, BucketStore):
            return await self._store.sign("GET", key(digest))
        return _path(digest)

    def local_file(self, digest: str) -> Path | None:
        """The file of a blob, or None if the store is a bucket."""
        return self._store.path(key(digest)) if isinstance(self._store, FolderStore) else None

    async def write(self, digest: str, chunks: AsyncIterator[bytes], size: int | None) -> bool:
        """Store a blob, chunk by chunk; bytes that are there already are replaced.

        Args:
            size: how many bytes the sender announces, if it does.

        Returns:
            False if there was a blob already.

        Raises:
            PenstockError: 409 ``presigned`` for a bucket; 413 ``blob-too-large``; 422 ``wrong-digest``;
                507 ``disk-full``. Nothing is stored then.
        """
        if not isinstance(self._store, FolderStore):
            raise PenstockError(
                409, "presigned", "This store receives bytes directly; PUT them to the URL of the upload target."
            )
        self._check_size(size or 0)
        if self._store.free_bytes() <= self._min_free_bytes + (size or 0):
            kept = f" but for {self._min_free_bytes} bytes that are kept for logs (PENSTOCK_REGISTRY_MIN_FREE_BYTES)"
            raise disk_full(self._store.root, kept)
        present = await self.info(digest) is not None
        # The check is inside the stream, so that the store abandons the file before it becomes visible.
        await self._store.put_stream(key(digest), self._checked(digest, chunks))
        info = await self.info(digest)
        if info is not None:
            self._verified[digest] = info.stamp
        return not present

    async def _checked(self, digest: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        sha = hashlib.sha256()
        size = 0
        buffer = bytearray()
        async for chunk in chunks:
            sha.update(chunk)
            size += len(chunk)
            self._check_size(size)
            buffer += chunk
            if len(buffer) >= CHUNK:
                yield bytes(buffer)
                buffer.clear()
        if sha.hexdigest() != digest:
            raise PenstockError(
                422, "wrong-digest", f"The bytes have sha256 {sha.hexdigest()}, not {digest}; upload them again."
            )
        yield bytes(buffer)

    async def read(self, file: FileRef) -> bytes:
        return b"".join([chunk async for chunk in self._store.read(key(file.sha256), file.size)])

    async def take_in(self, file: FileRef, *, named: bool) -> str | None:
        """Make a file's upload its blob, unless there is a good one; what is wrong then, as ``problem`` has it."""
        problem = await self.problem(file, named=named)
        if problem is None or not isinstance(self._store, BucketStore):
            return problem
        try:
            await self._take_upload(file.sha256, self._store)
        except PenstockError as err:
            return f"{file.path}: {err.detail}"
        # Looked at again also if there was no upload: another commit of the same file may just have taken it.
        return await self.problem(file, named=named)

    async def _take_upload(self, digest: str, bucket: BucketStore) -> bool:
        """Write an upload under its digest while its bytes are checked, and remove it; whether there was one.

        What is written is what was checked, whatever the client sends to its URL meanwhile.

        Raises:
            PenstockError: 413 ``blob-too-large``; 422 ``wrong-digest``. Nothing is written then.
        """
        upload = await bucket.info(_upload_key(digest))
        if upload is None:
            return False
        try:
            await bucket.put_stream(key(digest), self._checked(digest, bucket.read(upload.key, upload.size)))
        except FileNotFoundError:  # another registry took it meanwhile
            return True
        await bucket.delete(upload.key)
        if (info := await self.info(digest)) is not None:
            self._verified[digest] = info.stamp
        return True

    async def problem(self, file: FileRef, *, named: bool = True, anew: bool = False) -> str | None:
        """What is wrong with the blob of a file, or None if it is as declared.

        Args:
            named: a version names the blob already; others must be young enough to outlast the commit.
            anew: read the bytes even if they were found right before.
        """
        info = await self.info(file.sha256)
        if info is None or info.size != file.size:
            return _size_problem(file, info)
        if not named and _age(info) >= 0.75 * self._grace:
            return f"{file.path}: its blob was uploaded too long ago and may be removed at any time; upload it again"
        if anew:
            self._verified.pop(file.sha256, None)
        if not await self._bytes_are_right(file.sha256, info):
            return f"{file.path}: the blob's bytes do not have sha256 {file.sha256}; upload it again"
        return None

    async def size_problem(self, file: FileRef) -> str | None:
        """What is wrong with the blob of a file as far as its size shows it, or None."""
        return _size_problem(file, await self.info(file.sha256))

    async def _bytes_are_right(self, digest: str, info: ObjectInfo) -> bool:
        """Compare the stored bytes with their digest, unless that was done since they were written."""
        if self._verified.get(digest) == info.stamp:
            return True
        sha = hashlib.sha256()
        async for chunk in self._store.read(key(digest), info.size):
            sha.update(chunk)
        if sha.hexdigest() != digest:
            WRONG.inc()
            logger.error("a blob has other bytes than its digest says", digest=digest, found=sha.hexdigest())
            return False
        self._verified[digest] = info.stamp
        return True

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise PenstockError(
                413, "blob-too-large", f"A blob may have {self._max_bytes} bytes (PENSTOCK_REGISTRY_MAX_BLOB_BYTES)."
            )


def _size_problem(file: FileRef, info: ObjectInfo | None) -> str | None:
    if info is None:
        return f"{file.path}: its blob {file.sha256} is not in the store; upload it"
    if info.size != file.size:
        return f"{file.path}: {file.size} bytes were declared, the blob has {info.size}"
    return None


def key(digest: str) -> str:
    return f"{FOLDER}/{digest}"


def _upload_key(digest: str) -> str:
    return f"{UPLOADS}/{digest}"


def _path(digest: str) -> str:
    return f"/v1/blobs/sha256/{digest}"


def _age(info: ObjectInfo) -> float:
    return time.time() - info.modified
