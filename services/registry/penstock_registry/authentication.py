"""The registry's bearer token."""

from __future__ import annotations

import hmac

from penstock_common.errors import PenstockError


def check_token(authorization: str, token: str) -> None:
    """Compare an ``Authorization`` header with the registry's token, in constant time.

    Raises:
        PenstockError: 401 ``bad-token``.
    """
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
        raise PenstockError(
            401,
            "bad-token",
            "Send the registry's token as 'Authorization: Bearer <token>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )
