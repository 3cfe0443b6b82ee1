"""Token buckets: how many rows each principal may send.

A bucket holds ``burst`` tokens and gains ``rate`` a second. A request that costs more than
a whole burst is let in when the bucket is full, and leaves it in debt: over time nobody gets
more than the rate, and no request is impossible, however many gateways share the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.headers import RateState

_SWEEP_AT = 1024


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    full_at: float


class TokenBuckets:
    """One bucket in this process for each principal.

    Args:
        rate: rows a second of a principal without a rate of its own.
        burst: rows of a full bucket of a principal without a burst of its own.
        clock: seconds, monotonic.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"rate {rate} must be above 0 and burst {burst} at least 1")
        self._rate = rate
        self._burst = burst
        #: Gateways that enforce the limits together; each allows its share.
        self.gateways = 1
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._sweep_at = _SWEEP_AT

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, principal: Principal, cost: int = 1, taken: int = 0) -> RateState:
        """Take what a request costs; what it is refused for is not taken.

        Args:
            cost: tokens that the request costs in all.
            taken: tokens that were taken for it before.
        """
        now = self._clock()
        rate, burst = self._limits(principal)
        bucket = self._buckets.get(principal.id)
        if bucket is None:
            bucket = self._add(principal.id, burst, now)
        tokens = bucket.tokens + (now - bucket.at) * rate
        if tokens > burst:
            tokens = burst
        needed = (cost if cost < burst else burst) - taken
        allowed = tokens >= needed
        retry_after = 0.0
        if allowed:
            tokens -= cost - taken
        else:
            # The next try pays for its arrival again.
            retry_after = (needed + taken - tokens) / rate
        reset = (burst - tokens) / rate
        bucket.tokens = tokens
        bucket.at = now
        bucket.full_at = now + reset
        remaining = int(tokens) if tokens > 0 else 0
        return RateState(int(burst), remaining, reset, burst / rate, allowed, retry_after)

    def give_back(self, principal: Principal, tokens: int) -> None:
        """Return tokens that were taken for nothing."""
        bucket = self._buckets.get(principal.id)
        if bucket is not None:  # else it was full, and has been forgotten
            rate, _ = self._limits(principal)
            bucket.tokens += tokens
            bucket.full_at -= tokens / rate

    def _limits(self, principal: Principal) -> tuple[float, float]:
        """This gateway's share of a principal's rate and burst."""
        limits = principal.limits
        rate = self._rate if limits.rate is None else limits.rate
        burst = self._burst if limits.burst is None else limits.burst
        if self.gateways > 1:
            return rate / self.gateways, max(1.0, burst / self.gateways)
        return rate, burst

    def _add(self, principal_id: str, burst: float, now: float) -> _Bucket:
        if len(self._buckets) >= self._sweep_at:
            # A full bucket holds nothing that an absent one does not. Doubling keeps the sweep's cost per bucket constant.
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.full_at > now}
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._buckets))
        bucket = self._buckets[principal_id] = _Bucket(burst, now, now)
        return bucket
