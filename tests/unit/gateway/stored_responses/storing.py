"""Stores of responses for tests."""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock_gateway.auth.key_admin import KeyAdmin
from penstock_gateway.stored_responses.database_responses import DatabaseResponses
from penstock_gateway.stored_responses.response_store import Retention, StoredResponse, new_response_id


def new_store(url: str, max_bytes: int = 10_000) -> DatabaseResponses:
    """A store in a new database, made as an operator does it: with the first key."""
    KeyAdmin(url).create("first")
    return store_of(url, max_bytes=max_bytes)


def store_of(
    url: str,
    *,
    days: float = 30,
    max_bytes: int = 10_000,
    max_bytes_per_key: int = 100_000,
    clock: Callable[[], float] = time.time,
) -> DatabaseResponses:
    """What a gateway has that finds the database."""
    return DatabaseResponses(url, Retention(days, max_bytes, max_bytes_per_key), clock)


def stored(size: int = 10) -> StoredResponse:
    """A response of so many bytes."""
    return StoredResponse(new_response_id(), b"r" * (size // 2), b"i" * (size - size // 2))
