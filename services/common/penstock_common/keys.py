"""API keys: ``psk_<id>_<secret>``, kept only as a hash.

A key's secret has 256 random bits, so it cannot be guessed and a plain SHA-256
is as strong as a slow password hash, at a cost the request path can bear.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from penstock_common.errors import PenstockError

PREFIX = "psk_"
ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key at rest; ``rate`` and ``burst`` of None are the installation's defaults."""

    id: str
    name: str
    hash: bytes
    rate: float | None
    burst: float | None
    created: str
    revoked: str | None


def key_hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def new_key(name: str, rate: float | None = None, burst: float | None = None) -> tuple[KeyRecord, str]:
    """A key's record, and the key itself, which nobody can tell again.

    Raises:
        PenstockError: 422 ``bad-limit``.
    """
    if (rate is not None and not 0 < rate < float("inf")) or (burst is not None and not 1 <= burst < float("inf")):
        raise PenstockError(422, "bad-limit", f"rate {rate} must be above 0 and burst {burst} at least 1.")
    key_id = secrets.token_hex(ID_LENGTH // 2)
    key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    return KeyRecord(key_id, name, key_hash(key), rate, burst, timestamp(), None), key


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def public(record: KeyRecord) -> dict[str, str | float | None]:
    """What may be shown of a key."""
    names = ("id", "name", "rate", "burst", "created", "revoked")
    return {name: getattr(record, name) for name in names}


def dump_record(record: KeyRecord) -> bytes:
    """JSON, the hash in hexadecimal: how a Secret keeps a key."""
    return msgspec.json.encode(public(record) | {"hash": record.hash.hex()})


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
        ValueError: where ``data`` is no key's record.
    """
    stored = msgspec.json.decode(data, type=_Stored)
    return KeyRecord(
        stored.id, stored.name, bytes.fromhex(stored.hash), stored.rate, stored.burst, stored.created, stored.revoked
    )
