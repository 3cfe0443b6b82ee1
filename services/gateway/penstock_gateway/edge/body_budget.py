"""The bytes of request bodies that are in this process now."""

from __future__ import annotations

import asyncio

from penstock_common.errors import PenstockError
from penstock_gateway.edge.bounds import over_bound

#: A body up to this size comes with its headers, so that it is in memory already and need not wait behind larger ones.
_SMALL = 64 * 1024


class _Waiting:
    """A body whose bytes are not read yet, since there is no room for them."""

    __slots__ = ("future", "principal", "size")

    def __init__(self, principal: str, size: int) -> None:
        self.principal = principal
        self.size = size
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class BodyBudget:
    """Counts the bodies of the requests that are not answered yet.

    A body counts with the length that it declares from the moment on which it is let in,
    for it may arrive at any time; one that declares no length counts as it comes. A declared
    body for which there is no room waits, unread, for those before it: first come, first
    served, except that a principal at its own bound holds up only itself.

    Args:
        in_all: bytes of all bodies.
        per_key: bytes of the bodies of one principal.
        max_waiting: bodies that may wait, half of them of one principal.
    """

    def __init__(self, in_all: int, per_key: int, max_waiting: int) -> None:
        self._in_all = in_all
        self._per_key = per_key
        self._max_waiting = max_waiting
        self._of_key: dict[str, int] = {}
        self._waiting: list[_Waiting] = []
        self.held = 0

    def take(self, principal: str, size: int) -> None:
        """Hold ``size`` more bytes for ``principal``.

        Raises:
            PenstockError: 429 ``too-many-body-bytes`` or 503 ``bodies-full``; nothing is held then.
        """
        refusal = self._refusal(principal, size)
        if refusal is not None:
            raise refusal
        self._add(principal, size)

    def try_take(self, principal: str, size: int) -> bool:
        """Hold ``size`` bytes for a body of ``principal`` if there is room and nobody waits before it."""
        if self._waiting and size > _SMALL:
            return False
        of_key = self._of_key.get(principal, 0) + size
        if of_key > self._per_key or self.held + size > self._in_all:
            return False
        self._of_key[principal] = of_key
        self.held += size
        return True

    async def wait(self, principal: str, size: int, seconds: float) -> None:
        """Hold ``size`` bytes for a body of ``principal`` as soon as there is room.

        Raises:
            PenstockError: as of ``take``, if there is none within ``seconds`` or if too many wait already.
        """
        if self.try_take(principal, size):
            return
        if len(self._waiting) >= self._max_waiting or self._waiting_of(principal) >= (self._max_waiting + 1) // 2:
            raise self._refusal(principal, size) or self._full()
        key_is_full = self._of_key.get(principal, 0) + size > self._per_key
        waiting = _Waiting(principal, size)
        self._waiting.append(waiting)
        self._let_in()
        try:
            async with asyncio.timeout(seconds):
                await waiting.future
        except BaseException as err:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._let_in()
            else:
                self.give_back(principal, size)
            if isinstance(err, TimeoutError):
                # The bound that it came upon: bodies that came at the same time may have made room just now.
                raise (self._key_has_too_much() if key_is_full else self._full()) from None
            raise

    def give_back(self, principal: str, size: int) -> None:
        left = self._of_key[principal] - size
        if left:
            self._of_key[principal] = left
        else:
            del self._of_key[principal]
        self.held -= size
        if self._waiting:
            self._let_in()

    def hold(self, principal: str) -> Hold:
        """Nothing yet, for one request of ``principal``."""
        return Hold(self, principal)

    def _add(self, principal: str, size: int) -> None:
        self._of_key[principal] = self._of_key.get(principal, 0) + size
        self.held += size

    def _let_in(self) -> None:
        """Let in those that wait and have room now, in their order."""
        at_their_bound: set[str] = set()
        for waiting in list(self._waiting):
            principal, size = waiting.principal, waiting.size
            if principal in at_their_bound or waiting.future.done():  # its time was up in this turn of the loop
                continue
            if self._of_key.get(principal, 0) + size > self._per_key:
                at_their_bound.add(principal)
            elif self.held + size > self._in_all:
                return  # smaller ones that passed it would keep a large one waiting
            else:
                self._waiting.remove(waiting)
                self._add(principal, size)
                waiting.future.set_result(None)

    def _waiting_of(self, principal: str) -> int:
        return sum(waiting.principal == principal for waiting in self._waiting)

    def _refusal(self, principal: str, size: int) -> PenstockError | None:
        if self._of_key.get(principal, 0) + size > self._per_key:
            return self._key_has_too_much()
        return self._full() if self.held + size > self._in_all else None

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

    def try_take(self, size: int) -> bool:
        """Hold ``size`` bytes if there is room now, which needs no coroutine."""
        if self._budget.try_take(self._principal, size):
            self._size += size
            return True
        return False

    async def wait(self, size: int, seconds: float) -> None:
        """Hold ``size`` bytes as soon as there is room; raises what ``BodyBudget.wait`` does.

        Only for a request that holds nothing: those that hold bytes and wait for more could wait for each other.
        """
        await self._budget.wait(self._principal, size, seconds)
        self._size += size

    def take(self, size: int) -> None:
        """Hold ``size`` bytes more; raises what ``BodyBudget.take`` does."""
        self._budget.take(self._principal, size)
        self._size += size

    def release(self) -> None:
        """The request is over."""
        if self._size:
            self._budget.give_back(self._principal, self._size)
            self._size = 0
