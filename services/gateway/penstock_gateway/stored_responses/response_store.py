"""The seam of what keeps responses: the database that has the keys, or nothing."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from penstock_common.errors import PenstockError

_ID = re.compile(r"resp_[0-9a-f]{48}")


class StoredResponse(msgspec.Struct):
    """A response at rest; both are JSON.

    Attributes:
        response: the object that clients get.
        input_items: the list of what it answers, with all that was said before.
    """

    id: str
    response: bytes
    input_items: bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.response) + len(self.input_items)


@dataclass(frozen=True)
class Retention:
    """How long responses are kept, and how much of them."""

    days: float
    max_bytes: int  # of one response
    max_bytes_per_key: int  # beyond, the oldest go

    def check_size(self, size: int) -> None:
        """Refuse a response of more bytes than may be kept.

        Raises:
            PenstockError: 413 ``response-too-large``.
        """
        if size > self.max_bytes:
            text = (
                f"The response has {size} bytes with what it answers, and max_stored_response_bytes is "
                f"{self.max_bytes}; begin a new conversation, or send store: false."
            )
            extra = {"bound": "max_stored_response_bytes", "limit": self.max_bytes}
            raise PenstockError(413, "response-too-large", text, extra=extra)


class ResponseStore(Protocol):
    """Keeps responses. One that another principal made is as unknown as one that never was."""

    @property
    def keeps(self) -> bool:
        """Whether a response is kept if its request does not say."""

    def check_size(self, size: int) -> None:
        """Refuse what cannot be kept, before the model is asked.

        Args:
            size: bytes that are known by now.

        Raises:
            PenstockError: 400 ``storage-not-configured``; 413 ``response-too-large``.
        """

    async def write(self, principal: str, stored: StoredResponse) -> None:
        """Keep a response, whatever happens to this process afterwards.

        Raises:
            PenstockError: of ``check_size``; 503 ``response-store-away``.
        """

    async def read(self, principal: str, response_id: str) -> StoredResponse:
        """The response of that id.

        Raises:
            PenstockError: 400 ``storage-not-configured``; 404 ``unknown-response``; 503 ``response-store-away``.
        """

    async def delete(self, principal: str, response_id: str) -> None:
        """Forget the response of that id.

        Raises:
            PenstockError: as ``read``.
        """

    async def collect_periodically(self) -> None:
        """Forget what is too old, every now and then, until cancelled."""


def open_store(url: str, retention: Retention) -> ResponseStore:
    """The store in the database that has the keys; nothing is connected yet.

    Args:
        url: of the keys, as ``key_sources.open_keys`` takes it.

    Raises:
        PenstockError: 422 ``bad-keys-url``.
    """
    if Path(url).is_dir() or not retention.days:
        return NoStore()
    # A gateway that reads a mounted Secret needs neither the memory nor the start-up time of SQLAlchemy.
    from penstock_gateway.stored_responses.database_responses import DatabaseResponses

    return DatabaseResponses(url, retention)


class NoStore:
    """Keeps nothing, and says why."""

    keeps = False

    def check_size(self, size: int) -> None:
        raise _not_configured()

    async def write(self, principal: str, stored: StoredResponse) -> None:
        raise _not_configured()

    async def read(self, principal: str, response_id: str) -> StoredResponse:
        raise _not_configured()

    async def delete(self, principal: str, response_id: str) -> None:
        raise _not_configured()

    async def collect_periodically(self) -> None:
        """Nothing."""


def new_response_id() -> str:
    return f"resp_{secrets.token_hex(24)}"


def check_id(response_id: str) -> None:
    """Refuse an id that no response has.

    Raises:
        PenstockError: 404 ``unknown-response``.
    """
    if not _ID.fullmatch(response_id):
        raise unknown_response(response_id)


def unknown_response(response_id: str) -> PenstockError:
    text = (
        f"There is no stored response '{response_id[:80]}' of this key; it may be too old, deleted, or made with "
        "another key or with store: false."
    )
    return PenstockError(404, "unknown-response", text)


def _not_configured() -> PenstockError:
    text = (
        "This gateway stores no responses: send store: false and the whole conversation. To store them, its operator "
        "keeps the keys in a database (PENSTOCK_GATEWAY_KEYS_URL) and sets PENSTOCK_GATEWAY_STORED_RESPONSES_DAYS above 0."
    )
    return PenstockError(400, "storage-not-configured", text)
