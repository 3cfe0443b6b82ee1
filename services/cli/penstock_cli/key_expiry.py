"""When a new key expires, as the command line's options say it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from penstock_common.errors import PenstockError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def expiry(expires_in: str | None, expires_at: str | None) -> datetime | None:
    """The time that ``--expires-in`` (``90d``) or ``--expires-at`` (RFC 3339) names; None without them.

    Raises:
        PenstockError: 422 ``bad-expiry``.
    """
    if expires_in is not None and expires_at is not None:
        raise PenstockError(422, "bad-expiry", "Give --expires-in or --expires-at, not both.")
    if expires_in is not None:
        return _from_now(expires_in)
    return None if expires_at is None else _time(expires_at)


def _from_now(text: str) -> datetime:
    found = re.fullmatch(r"([0-9]{1,5})([smhdw])", text)
    if found is None:
        raise PenstockError(
            422, "bad-expiry", f"--expires-in '{text}': give at most 5 digits and one of s, m, h, d, w, such as 90d."
        )
    return datetime.now(UTC) + timedelta(**{_UNITS[found[2]]: int(found[1])})


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise PenstockError(
            422, "bad-expiry", f"--expires-at '{text}': give a time with its zone, such as 2030-01-31T00:00:00Z."
        )
    return time
