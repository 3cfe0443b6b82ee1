"""Token buckets: how many requests each principal may send.

A bucket holds ``burst`` tokens and gains ``rate`` a second. A request costs one,
however many rows it has, so that a refusal needs no look at the body.
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
        rate: tokens a second of a principal without a rate of its own.
        burst: tokens of a full bucket of a principal without a burst of its own.
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

    def take(self, principal: Principal) -> RateState:
        """Take one token; a refused request takes none."""
        now = self._clock()
        limits = principal.limits
        rate = self._rate if limits.rate is None else limits.rate
        burst = self._burst if limits.burst is None else limits.burst
        if self.gateways > 1:
            rate, burst = rate / self.gateways, max(1.0, burst / self.gateways)
        bucket = self._buckets.get(principal.id)
        if bucket is None:
            bucket = self._add(principal.id, burst, now)
        tokens = bucket.tokens + (now - bucket.at) * rate
        if tokens > burst:
            tokens = burst
        allowed = tokens >= 1
        retry_after = 0.0
        if allowed:
            tokens -= 1
        else:
            retry_after = (1 - tokens) / rate
        reset = (burst - tokens) / rate
        bucket.tokens = tokens
        bucket.at = now
        bucket.full_at = now + reset
        return RateState(int(burst), int(tokens), reset, burst / rate, allowed, retry_after)

    def _add(self, principal_id: str, burst: float, now: float) -> _Bucket:
        if len(self._buckets) >= self._sweep_at:
            # A full bucket holds nothing that an absent one does not. Doubling keeps the sweep's cost per bucket constant.
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.full_at > now}
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._buckets))
        bucket = self._buckets[principal_id] = _Bucket(burst, now, now)
        return bucket
