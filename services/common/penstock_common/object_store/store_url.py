"""The object store that a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock_common.object_store.folder_store import FolderStore

if TYPE_CHECKING:
    from penstock_common.object_store.bucket_store import BucketStore


def open_store(url: str) -> FolderStore | BucketStore:
    """Open a folder, which is created if missing, or a bucket.

    Raises:
        ValueError: for an unknown scheme.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return FolderStore(Path(parts.path).absolute())
    if parts.scheme in ("s3", "gs", "az"):
        from penstock_common.object_store.bucket_store import BucketStore  # a folder does without obstore

        return BucketStore(url)
    raise ValueError(f"store URL {url!r}: use a folder, s3://, gs:// or az://")
