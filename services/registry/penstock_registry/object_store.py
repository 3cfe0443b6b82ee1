"""The object store that a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

Bucket = S3Store | GCSStore | AzureStore
_BUCKETS: dict[str, type[Bucket]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}


def open_store(url: str) -> LocalStore | Bucket:
    """Open a folder, which is created if missing, or a bucket.

    Raises:
        ValueError: for an unknown scheme.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return LocalStore(Path(parts.path).absolute(), mkdir=True, automatic_cleanup=False)
    if parts.scheme in _BUCKETS:
        return _BUCKETS[parts.scheme].from_url(url)
    raise ValueError(f"store URL {url!r}: use a folder, s3://, gs:// or az://")
