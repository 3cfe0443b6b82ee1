"""Whole numbers in request headers."""

from __future__ import annotations

from collections.abc import Mapping

from penstock_common.errors import PenstockError

#: Digits of the largest number that a header may hold; int() of much longer text takes quadratic time, or raises.
_MAX_DIGITS = 18


def integer_header(headers: Mapping[bytes, bytes], name: bytes, most: int, code: str) -> int | None:
    """The number in the header ``name``, or None if it was not sent.

    Args:
        name: in lower case.
        most: the largest number that is accepted; the smallest is 0.
        code: of the error.

    Raises:
        PenstockError: 400 with ``code``.
    """
    given = headers.get(name)
    if given is None:
        return None
    if len(given) <= _MAX_DIGITS and given.isdigit() and int(given) <= most:
        return int(given)
    title = name.decode("latin-1").title()
    raise PenstockError(400, code, f"{title}: {given[:20]!r} is not a whole number from 0 to {most}.")
