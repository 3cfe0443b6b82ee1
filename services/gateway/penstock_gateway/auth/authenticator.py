"""The seam between the edge and whoever knows the callers."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from penstock_gateway.auth.principal import Principal

#: As ASGI has them: names in lower case.
Headers = Sequence[tuple[bytes, bytes]]


class Authenticator(Protocol):
    """Turns a request's credential into its caller."""

    def authenticate(self, headers: Headers) -> Principal | Awaitable[Principal]:
        """The caller. One who answers from memory returns it; one who has to ask another system returns an awaitable.

        Raises:
            PenstockError: 401, with the header ``WWW-Authenticate``.
        """
