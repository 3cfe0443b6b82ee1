"""API keys: ``psk_<id>_<secret>``, kept only as a hash.

A key's secret has 256 random bits, so it cannot be guessed and a plain SHA-256
is as strong as a slow password hash, at a cost the request path can bear.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock_common.errors import PenstockError

PREFIX = "psk_"
ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key at rest; a ``rate`` or ``burst`` of None is the installation's default."""

    id: str
    name: str
    hash: bytes
    rate: float | None
    burst: float | None
    created: str
    revoked: str | None


def key_hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def new_key(name: str, rate: float | None = None, burst: float | None = None) -> tuple[KeyRecord, str]:
    """A new key's record, and the key itself, which cannot be recovered later.

    Raises:
        PenstockError: 422 ``bad-limit``.
    """
    if (rate is not None and not 0 < rate < float("inf")) or (burst is not None and not 1 <= burst < float("inf")):
        raise PenstockError(422, "bad-limit", f"rate {rate} must be above 0 and burst {burst} at least 1.")
    key_id = secrets.token_hex(ID_LENGTH // 2)
    key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    return KeyRecord(key_id, name, key_hash(key.encode()), rate, burst, timestamp(), None), key


def unknown_key(key_id: str) -> PenstockError:
    return PenstockError(404, "unknown-key", f"There is no key with id '{key_id}'; list them to see the ids.")


def timestamp() -> str:
    """Now, in UTC, as RFC 3339 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def public(record: KeyRecord) -> dict[str, str | float | None]:
    """The parts of a record that may be shown: all but the hash."""
    shown = asdict(record)
    del shown["hash"]
    return shown


def dump_record(record: KeyRecord) -> bytes:
    """A record as JSON with its hash in hexadecimal: the form in which a Kubernetes Secret keeps a key."""
    shown: dict[str, Any] = public(record)
    return msgspec.json.encode(shown | {"hash": record.hash.hex()})


class _Stored(msgspec.Struct):
    id: str
    hash: str
    name: str = ""
    rate: float | None = None
    burst: float | None = None
    created: str = ""
    revoked: str | None = None


def load_record(data: bytes) -> KeyRecord:
    """The reverse of ``dump_record``.

    Raises:
        ValueError: ``data`` is not a key's record.
    """
    stored = msgspec.json.decode(data, type=_Stored)
    return KeyRecord(
        stored.id, stored.name, bytes.fromhex(stored.hash), stored.rate, stored.burst, stored.created, stored.revoked
    )
