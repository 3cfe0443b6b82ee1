"""The object store behind a URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import obstore
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

#: Stores that hand out presigned URLs, so that bytes go past the registry.
PRESIGNING = (S3Store, GCSStore, AzureStore)


def open_store(url: str) -> ObjectStore:
    """A folder (created where missing) or a bucket.

    Raises:
        ValueError: for a scheme that is not known.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        folder = Path(parts.path).absolute()
        return LocalStore(folder, mkdir=True, automatic_cleanup=False)
    if parts.scheme in ("s3", "gs", "az"):
        return obstore.store.from_url(url)
    raise ValueError(f"store URL {url!r}: use a folder, s3://, gs:// or az://")
