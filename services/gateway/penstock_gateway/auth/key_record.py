"""API keys: ``psk_<id>_<secret>``, kept only as a hash.

A key's secret has 256 random bits, so it cannot be guessed and a plain SHA-256
is as strong as a slow password hash, at a cost the request path can bear.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock_common.errors import PenstockError

PREFIX = "psk_"
ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """A key at rest; times are RFC 3339 in UTC, to the second.

    Raises:
        ValueError: ``expires`` is not a time.
    """

    id: str
    name: str
    hash: bytes
    rate: float | None  # None is the installation's default, as for burst
    burst: float | None
    created: str
    revoked: str | None
    models: list[str] | None = None  # globs of the models that it may call, as pools have them; None is all
    expires: str | None = None
    last_used: str | None = None  # None also where the store does not keep it

    def __post_init__(self) -> None:
        if self.expires is not None:
            seconds(self.expires)


def key_hash(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def new_key(
    name: str,
    rate: float | None = None,
    burst: float | None = None,
    models: Sequence[str] | None = None,
    expires: datetime | None = None,
) -> tuple[KeyRecord, str]:
    """A new key's record, and the key itself, which cannot be recovered later.

    Raises:
        PenstockError: 422 ``bad-limit``, ``bad-models`` or ``bad-expiry``.
    """
    if (rate is not None and not 0 < rate < float("inf")) or (burst is not None and not 1 <= burst < float("inf")):
        raise PenstockError(422, "bad-limit", f"rate {rate} must be above 0 and burst {burst} at least 1.")
    if models is not None and (all(glob.startswith("!") for glob in models) or not all(map(str.strip, models))):
        text = f"models {list(models)} must have globs that are not empty, at least one of them without '!'."
        raise PenstockError(422, "bad-models", text)
    if expires is not None and expires <= datetime.now(UTC):
        raise PenstockError(422, "bad-expiry", f"expires {timestamp(expires)} is over; name a time in the future.")
    key_id = secrets.token_hex(ID_LENGTH // 2)
    key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
    record = KeyRecord(
        id=key_id,
        name=name,
        hash=key_hash(key.encode()),
        rate=rate,
        burst=burst,
        created=timestamp(),
        revoked=None,
        models=None if models is None else list(models),
        expires=None if expires is None else timestamp(expires),
    )
    return record, key


def unknown_key(key_id: str) -> PenstockError:
    return PenstockError(404, "unknown-key", f"There is no key with id '{key_id}'; list them to see the ids.")


def timestamp(time: datetime | None = None) -> str:
    """A time, or now, in UTC, as RFC 3339 to the second."""
    time = (time or datetime.now(UTC)).astimezone(UTC)
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


def seconds(timestamp: str) -> float:
    """The reverse of ``timestamp``, in seconds since 1970.

    Raises:
        ValueError: the text is not a time, or does not name its zone.
    """
    time = datetime.fromisoformat(timestamp)
    if time.tzinfo is None:
        raise ValueError(f"{timestamp!r} does not name its zone; append Z for UTC")
    return time.timestamp()


def public(record: KeyRecord) -> dict[str, Any]:
    """The parts of a record that may be shown: all but the hash."""
    shown = asdict(record)
    del shown["hash"]
    return shown


def dump_record(record: KeyRecord) -> bytes:
    """A record as JSON with its hash in hexadecimal: the form in which a Kubernetes Secret keeps a key.

    A Secret does not keep the last use: the gateways that mount it cannot write it.
    """
    shown = public(record)
    del shown["last_used"]
    return msgspec.json.encode(shown | {"hash": record.hash.hex()})


class _Stored(msgspec.Struct):
    id: str
    hash: str
    name: str = ""
    rate: float | None = None
    burst: float | None = None
    created: str = ""
    revoked: str | None = None
    models: list[str] | None = None
    expires: str | None = None


def load_record(data: bytes) -> KeyRecord:
    """The reverse of ``dump_record``.

    Raises:
        ValueError: ``data`` is not a key's record.
    """
    stored = msgspec.structs.asdict(msgspec.json.decode(data, type=_Stored))
    return KeyRecord(**stored | {"hash": bytes.fromhex(stored["hash"])})
