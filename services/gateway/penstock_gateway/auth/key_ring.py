"""The API keys in this process's memory; the request path never reads their store."""

from __future__ import annotations

import asyncio
import hmac
from typing import NamedTuple

import structlog
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_gateway.auth.authenticator import Headers
from penstock_gateway.auth.key_record import ID_LENGTH, PREFIX, KeyRecord, key_hash
from penstock_gateway.auth.key_sources import KeySource, KeySourceError
from penstock_gateway.auth.principal import Limits, Principal

REFRESH_SECONDS = 0.5
_ID = slice(len(PREFIX), len(PREFIX) + ID_LENGTH)
_FAILURES = Counter("penstock_gateway_key_refresh_failures_total", "Refreshes of the API keys that failed")
logger = structlog.get_logger()


class _Key(NamedTuple):
    hash: bytes
    principal: Principal
    revoked: bool


class KeyRing:
    """Authenticates by API key; a change of the keys is noticed at the next refresh."""

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._keys: dict[bytes, _Key] = {}  # by the key's id
        self._loaded = False
        self._unreadable = False

    @property
    def loaded(self) -> bool:
        """True once the keys have been read."""
        return self._loaded

    def authenticate(self, headers: Headers) -> Principal:
        """The caller that the headers' API key belongs to.

        Raises:
            PenstockError: 401 ``missing-key``, ``bad-key`` or ``revoked-key``.
        """
        presented = _presented_key(headers)
        key = self._keys.get(presented[_ID])
        if key is None or not hmac.compare_digest(key.hash, key_hash(presented)):
            raise _not_known(presented)
        if key.revoked:
            text = f"The key '{key.principal.name}' was revoked; ask for a new one."
            raise _unauthorized("revoked-key", text, ', error="invalid_token"')
        return key.principal

    def load(self) -> None:
        """Read the keys if they have changed; if they cannot be read, the last ones stay in force."""
        try:
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

    async def refresh_periodically(self, interval: float = REFRESH_SECONDS) -> None:
        """Load the keys every ``interval`` seconds, in a thread, until cancelled."""
        while True:
            await asyncio.to_thread(self.load)
            await asyncio.sleep(interval)


def _key(record: KeyRecord) -> _Key:
    principal = Principal(record.id, record.name, limits=Limits(record.rate, record.burst))
    return _Key(record.hash, principal, record.revoked is not None)


def _presented_key(headers: Headers) -> bytes:
    """The key of ``API-Key``, ``X-API-Key`` or ``Authorization: Bearer``; empty if there is none."""
    for name, value in headers:
        if name == b"api-key" or name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
    return b""


def _not_known(presented: bytes) -> PenstockError:
    if not presented:
        return _unauthorized("missing-key", "Send an API key in the header 'API-Key' or 'Authorization: Bearer <key>'.")
    text = f"The API key is not known here; a key looks like {PREFIX}<id>_<secret>. Check that it is whole."
    return _unauthorized("bad-key", text, ', error="invalid_token"')


def _unauthorized(code: str, detail: str, parameters: str = "") -> PenstockError:
    challenge = f'Bearer realm="penstock"{parameters}'
    return PenstockError(401, code, detail, headers={"WWW-Authenticate": challenge})
