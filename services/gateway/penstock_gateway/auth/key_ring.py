"""The API keys in this process's memory; the request path never reads their store."""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from datetime import UTC, datetime
from typing import NamedTuple

import structlog
from prometheus_client import Counter, Gauge

from penstock_common.errors import PenstockError
from penstock_gateway.auth.authenticator import Headers
from penstock_gateway.auth.key_record import ID_LENGTH, PREFIX, KeyRecord, key_hash, seconds, timestamp
from penstock_gateway.auth.key_sources import KeySource, KeySourceError
from penstock_gateway.auth.principal import Limits, Principal

REFRESH_SECONDS = 0.5
WRITE_SECONDS = 60.0
_CHALLENGE = 'Bearer realm="penstock"'
_ID = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)
_FAILURES = Counter("penstock_gateway_key_refresh_failures_total", "Refreshes of the API keys that failed")
_AGE = Gauge("penstock_gateway_keys_age_seconds", "Time since the API keys were last read, or compared, successfully")
logger = structlog.get_logger()


class _Key(NamedTuple):
    hash: bytes
    principal: Principal
    revoked: bool
    expires: float  # seconds since 1970


class KeyRing:
    """Authenticates by API key; a change of the keys is noticed at the next refresh.

    Args:
        source: the keys' store.
        stale_seconds: how long keys are accepted while the store cannot be read; 0 is without end. Revoked and expired
            keys are refused all the same.
    """

    def __init__(self, source: KeySource, stale_seconds: float = 0.0) -> None:
        self._source = source
        self._stale_seconds = stale_seconds
        self._keys: dict[bytes, _Key] = {}  # by the key's id
        self._read = time.monotonic()
        self._loaded = False
        self._unreadable = False
        self._uses: dict[str, float] = {}  # seconds since 1970 by the key's id; not yet written
        self._unwritable = False
        self._source_in_use = threading.Lock()
        _AGE.set_function(lambda: self.age)

    @property
    def loaded(self) -> bool:
        """True once the keys have been read."""
        return self._loaded

    @property
    def age(self) -> float:
        """Seconds since the keys were last known to be those of the store."""
        return time.monotonic() - self._read

    def authenticate(self, headers: Headers) -> Principal:
        """The caller that the headers' API key belongs to.

        Raises:
            PenstockError: 401 ``missing-key``, ``bad-key``, ``revoked-key`` or ``expired-key``; 503 ``keys-stale``.
        """
        presented = _presented_key(headers)
        if not presented:
            raise _missing()
        key = self._keys.get(presented[_ID])
        if key is not None and not hmac.compare_digest(key.hash, key_hash(presented)):
            key = None
        return self._valid(key)

    def principal(self, key_id: bytes) -> Principal:
        """The caller whose key has an id, for work that it has asked for before.

        Raises:
            PenstockError: as of ``authenticate``.
        """
        return self._valid(self._keys.get(key_id))

    def _valid(self, key: _Key | None) -> Principal:
        now = time.time()
        if key is not None and key.revoked:
            raise _invalid("revoked-key", f"The key '{key.principal.name}' was revoked; ask for a new one.")
        if key is not None and key.expires <= now:
            raise _invalid("expired-key", f"The key '{key.principal.name}' has expired; ask for a new one.")
        if self._stale_seconds and self.age > self._stale_seconds:
            raise self._stale()
        if key is None:
            raise _not_known()
        self._uses[key.principal.id] = now
        return key.principal

    def load(self) -> None:
        """Read the keys if they have changed; if they cannot be read, the last ones stay in force."""
        try:
            with self._source_in_use:
                started = time.monotonic()
                records = self._source.read()
        except KeySourceError as err:
            _FAILURES.inc()
            if not self._unreadable:
                logger.warning("key store away, keeping the last keys", error=str(err))
            self._unreadable = True
            return
        if self._unreadable:
            logger.info("key store is back")
        self._unreadable = False
        self._loaded = True
        if records is not None:
            self._keys = {record.id.encode(): _key(record) for record in records}
        self._read = started

    async def refresh_periodically(
        self, interval: float = REFRESH_SECONDS, write_interval: float = WRITE_SECONDS
    ) -> None:
        """Load the keys, and write when they were last used, every so many seconds, in threads, until cancelled."""
        written = time.monotonic()
        while True:
            await asyncio.to_thread(self.load)
            if time.monotonic() - written >= write_interval:
                written = time.monotonic()
                await self.write_last_uses()
            await asyncio.sleep(interval)

    async def write_last_uses(self) -> None:
        """Write the uses since the last time, in a thread; those that cannot be written are kept for the next time."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await asyncio.to_thread(self._write, uses)
        except KeySourceError as err:
            self._uses = uses | self._uses
            if not self._unwritable:
                logger.warning("last use of keys cannot be written", error=str(err))
            self._unwritable = True
        else:
            self._unwritable = False

    def _write(self, uses: dict[str, float]) -> None:
        stamps = {key_id: timestamp(datetime.fromtimestamp(used, UTC)) for key_id, used in uses.items()}
        with self._source_in_use:
            self._source.write_last_uses(stamps)

    def _stale(self) -> PenstockError:
        return PenstockError(
            503,
            "keys-stale",
            f"The keys could not be read for {self.age:.0f} seconds, which is longer than they may be used without "
            "their store; try again later.",
            headers={"Retry-After": "5"},
            extra={"bound": "keys_stale_seconds", "limit": self._stale_seconds},
        )


def _key(record: KeyRecord) -> _Key:
    models = None if record.models is None else tuple(record.models)
    principal = Principal(record.id, record.name, models=models, limits=Limits(record.rate, record.burst))
    expires = float("inf") if record.expires is None else seconds(record.expires)
    return _Key(record.hash, principal, record.revoked is not None, expires)


def _presented_key(headers: Headers) -> bytes:
    """The key of ``API-Key``, ``X-API-Key`` or ``Authorization: Bearer``; empty if there is none."""
    for name, value in headers:
        if name == b"api-key" or name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return b""


def _missing() -> PenstockError:
    text = "Send an API key in the header 'API-Key' or 'Authorization: Bearer <key>'."
    return PenstockError(401, "missing-key", text, headers={"WWW-Authenticate": _CHALLENGE})


def _not_known() -> PenstockError:
    text = f"The API key is not known here; a key looks like {PREFIX}<id>_<secret>. Check that it is whole."
    return _invalid("bad-key", text)


def _invalid(code: str, detail: str) -> PenstockError:
    return PenstockError(401, code, detail, headers={"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'})
