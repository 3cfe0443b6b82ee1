"""What remotes may do for one model in a day."""

from __future__ import annotations

import time
from collections.abc import Callable

from penstock_common.remotes import Fallback

_DAY = 86_400


class Budget:
    """Counts requests and tokens from midnight, UTC, in this gateway's memory: a gateway that starts begins at 0.

    Each gateway has its share, so that all of them together keep to the budget. Tokens are known once they are
    written, so the answers under way may exceed theirs.

    Args:
        gateways: how many there are now.
        clock: seconds since 1970.
    """

    def __init__(self, fallback: Fallback, gateways: Callable[[], int], clock: Callable[[], float] = time.time) -> None:
        self.fallback = fallback
        self._gateways = gateways
        self._clock = clock
        self._day = 0
        self._requests = 0
        self._tokens = 0

    def take(self) -> bool:
        """Count a request, if there is room for it."""
        self._turn_page()
        requests, tokens = self.fallback.requests_per_day, self.fallback.tokens_per_day
        share = self._gateways()
        if requests is not None and (self._requests + 1) * share > requests:
            return False
        if tokens is not None and self._tokens * share >= tokens:
            return False
        self._requests += 1
        return True

    def give_back(self) -> None:
        """Uncount a request that was not answered."""
        self._requests = max(0, self._requests - 1)

    def spend(self, tokens: int) -> None:
        self._turn_page()
        self._tokens += tokens

    def _turn_page(self) -> None:
        day = int(self._clock() // _DAY)
        if day != self._day:
            self._day, self._requests, self._tokens = day, 0, 0
