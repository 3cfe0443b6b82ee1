"""The bytes of request bodies that are in this process now."""

from __future__ import annotations

from penstock_common.errors import PenstockError
from penstock_gateway.edge.bounds import over_bound


class BodyBudget:
    """Counts the bodies of the requests that are not answered yet.

    A body counts with the length that it declares from the moment on which it is let in,
    for it may arrive at any time; one that declares no length counts as it comes.

    Args:
        in_all: bytes of all bodies.
        per_key: bytes of the bodies of one principal.
    """

    def __init__(self, in_all: int, per_key: int) -> None:
        self._in_all = in_all
        self._per_key = per_key
        self._of_key: dict[str, int] = {}
        self.held = 0

    def take(self, principal: str, size: int) -> None:
        """Hold ``size`` more bytes for ``principal``.

        Raises:
            PenstockError: 429 ``too-many-body-bytes`` or 503 ``bodies-full``; nothing is held then.
        """
        of_key = self._of_key.get(principal, 0) + size
        if of_key > self._per_key:
            raise self._key_has_too_much()
        if self.held + size > self._in_all:
            raise self._full()
        self._of_key[principal] = of_key
        self.held += size

    def give_back(self, principal: str, size: int) -> None:
        left = self._of_key[principal] - size
        if left:
            self._of_key[principal] = left
        else:
            del self._of_key[principal]
        self.held -= size

    def hold(self, principal: str) -> Hold:
        """Nothing yet, for one request of ``principal``."""
        return Hold(self, principal)

    def _key_has_too_much(self) -> PenstockError:
        return over_bound(
            429,
            "too-many-body-bytes",
            "max_bodies_bytes_per_key",
            self._per_key,
            "The bodies of this key's unanswered requests have too many bytes; send fewer or smaller ones at once.",
        )

    def _full(self) -> PenstockError:
        return over_bound(
            503,
            "bodies-full",
            "max_bodies_bytes",
            self._in_all,
            "The bodies of all unanswered requests have too many bytes; try again shortly.",
        )


class Hold:
    """The bytes of one request's body."""

    __slots__ = ("_budget", "_principal", "_size")

    def __init__(self, budget: BodyBudget, principal: str) -> None:
        self._budget = budget
        self._principal = principal
        self._size = 0

    def take(self, size: int) -> None:
        """Hold ``size`` bytes more; raises what ``BodyBudget.take`` does."""
        self._budget.take(self._principal, size)
        self._size += size

    def release(self) -> None:
        """The request is over."""
        if self._size:
            self._budget.give_back(self._principal, self._size)
            self._size = 0
