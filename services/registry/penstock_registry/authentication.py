"""Bearer tokens with roles, and what becomes of attempts without a right one."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_common.registry_roles import ROLES

logger = structlog.get_logger()
REFUSED = Counter("penstock_registry_bad_tokens_total", "Calls without a right token.")

ALL_ROLES = ROLES["admin"]

_ADDRESSES = 1024  # remembered at once
_MINUTE = 60.0  # seconds
_LOG_EVERY = 10.0  # seconds


class TokenFiles:
    """Files named after roles in a folder, with a token on every line; read again after each change.

    Raises:
        ValueError: if no file has a token.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {role: folder / role for role in ROLES}
        self._stamp: object = None
        self._tokens: dict[bytes, frozenset[str]] = {}
        if not self.tokens():
            raise ValueError(f"{folder} has no token in any of the files {', '.join(ROLES)}")

    def tokens(self) -> Mapping[bytes, frozenset[str]]:
        """All tokens at present, with the rights that their files give them."""
        stamp = [_stamp(path) for path in self._files.values()]
        if stamp != self._stamp:
            tokens: dict[bytes, frozenset[str]] = {}
            for role, path in self._files.items():
                for token in path.read_bytes().split() if path.exists() else []:
                    tokens[token] = tokens.get(token, frozenset()) | ROLES[role]
            self._tokens, self._stamp = tokens, stamp
        return self._tokens


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class Authenticator:
    """Finds the roles of a call.

    A right token always passes. Of an address that keeps sending wrong ones, only ``max_bad_tokens`` attempts
    a minute are answered with 401; the others with 429. One line in ten seconds is logged for all.
    """

    def __init__(
        self, tokens: TokenFiles, *, max_bad_tokens: int = 20, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tokens = tokens
        self._max_bad_tokens = max_bad_tokens
        self._clock = clock
        self._attempts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # by address: start of the minute, count
        self._unlogged = 0
        self._logged_at = -_LOG_EVERY

    def roles(self, authorization: str, address: str) -> frozenset[str]:
        """The roles of the token in an ``Authorization`` header, compared in constant time.

        Raises:
            PenstockError: 401 ``bad-token``; 429 ``too-many-bad-tokens``.
        """
        scheme, _, given = authorization.partition(" ")
        roles: frozenset[str] = frozenset()
        if scheme.lower() == "bearer":
            for token, token_roles in self._tokens.tokens().items():
                if hmac.compare_digest(given.encode("latin-1", "replace"), token):
                    roles |= token_roles
        if not roles:
            raise self._refusal(address)
        return roles

    def _refusal(self, address: str) -> PenstockError:
        REFUSED.inc()
        now = self._clock()
        self._log(address, now)
        start, count = self._attempts.pop(address, (now, 0))
        if now - start >= _MINUTE:
            start, count = now, 0
        self._attempts[address] = (start, count + 1)
        if len(self._attempts) > _ADDRESSES:
            self._attempts.popitem(last=False)
        if count >= self._max_bad_tokens:
            seconds = max(1, round(start + _MINUTE - now))
            return PenstockError(
                429,
                "too-many-bad-tokens",
                f"{address} has sent more than {self._max_bad_tokens} wrong tokens in a minute "
                f"(PENSTOCK_REGISTRY_MAX_BAD_TOKENS); wait {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )
        return PenstockError(
            401,
            "bad-token",
            "Send one of the registry's tokens as 'Authorization: Bearer <token>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _log(self, address: str, now: float) -> None:
        self._unlogged += 1
        if now - self._logged_at >= _LOG_EVERY:
            logger.warning("calls without a right token", address=address, attempts=self._unlogged)
            self._unlogged, self._logged_at = 0, now


def check_role(roles: frozenset[str], role: str) -> None:
    """Refuse a call that ``roles`` do not allow.

    Raises:
        PenstockError: 403 ``missing-role``.
    """
    if role not in roles:
        have = ", ".join(sorted(roles))
        raise PenstockError(
            403, "missing-role", f"This call needs a token with the role {role!r}; this token has {have}."
        )
