"""The seam of admission: whether a request may go on, and what it holds until it ends."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock_gateway.auth.principal import Principal


class Usage(msgspec.Struct):
    """What a request did take; a stream adds to it as it goes."""

    rows: int = 0  # answered
    #: The service had no room for it, or nobody to answer it (503): nothing was done for it.
    refused: bool = False


class Lease(Protocol):
    """What one request holds, from its arrival to its end."""

    def grow(self, size: int) -> None:
        """Count a body of ``size`` bytes, more than its request had declared.

        Raises:
            PenstockError: 429 ``rate-limited``.
        """

    async def admit(self, model: str, rows: int) -> None:
        """Reserve what a decoded request will cost; what is asked of the model in several parts adds up.

        Raises:
            PenstockError: 429 or 503 if the principal or the model cannot have more now.
        """

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Header fields for the answer: how the principal's limit stands."""

    def settle(self, usage: Usage) -> None:
        """Give back what was reserved and account for what was used; called exactly once, however the request ends."""


class Admission(Protocol):
    def arrive(self, principal: Principal, size: int) -> Lease:
        """Count a request of which only the headers were read.

        Args:
            size: bytes that it declares for its body; 0 if it does not say.

        Raises:
            PenstockError: 429 ``rate-limited``, with header fields that say how the limit stands.
        """
