"""The seam of authentication: from a request's headers to its principal."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from penstock_gateway.auth.principal import Principal

#: ASGI header fields: names in lower case.
Headers = Sequence[tuple[bytes, bytes]]


class Authenticator(Protocol):
    def authenticate(self, headers: Headers) -> Principal | Awaitable[Principal]:
        """The caller of a request.

        An adapter that answers from memory returns the principal itself, which keeps a coroutine
        off the hot path; one that has to ask another system returns an awaitable.

        Raises:
            PenstockError: 401, naming what is wrong with the credential.
        """
