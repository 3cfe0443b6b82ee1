"""The seam of admission: whether a request may go on, and what it holds until it ends."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock_gateway.auth.principal import Principal


class Cost(msgspec.Struct):
    """What a decoded request is expected to take."""

    rows: int
    bytes: int  # of its body


class Usage(msgspec.Struct):
    """What a request did take; a stream adds to it as it goes."""

    rows: int = 0  # answered


class Lease(Protocol):
    """What one admitted request holds."""

    def settle(self, usage: Usage) -> None:
        """Give back what was reserved and account for what was used; called exactly once, however the request ends."""


class Admission(Protocol):
    def arrive(self, principal: Principal) -> list[tuple[bytes, bytes]]:
        """Count a request whose body has not been read yet.

        Returns:
            Header fields for its answer.

        Raises:
            PenstockError: 429 ``rate-limited``, with the same header fields.
        """

    async def admit(self, principal: Principal, model: str, cost: Cost) -> Lease:
        """Reserve what a decoded request will cost.

        Raises:
            PenstockError: 429 or 503 if the principal or the model cannot have more now.
        """
