"""The object store that a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from penstock_registry.bucket_store import SCHEMES, BucketStore
from penstock_registry.folder_store import FolderStore


def open_store(url: str) -> FolderStore | BucketStore:
    """Open a folder, which is created if missing, or a bucket.

    Raises:
        ValueError: for an unknown scheme.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return FolderStore(Path(parts.path).absolute())
    if parts.scheme in SCHEMES:
        return BucketStore(url)
    raise ValueError(f"store URL {url!r}: use a folder, s3://, gs:// or az://")
