"""Token buckets: how many requests each principal may send.

A bucket holds ``burst`` tokens and gains ``rate`` a second; a request costs one,
however many rows it has, so that a refusal needs no look at the body.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from penstock_common.errors import PenstockError
from penstock_gateway.auth.principal import Principal

POLICY = "default"
_SWEEP_AT = 1024


@dataclass(slots=True)
class RateState:
    """A bucket after a request was counted."""

    limit: int  # the burst
    remaining: int
    reset_seconds: float  # until the bucket is full again
    window_seconds: float  # an empty bucket's way to full
    allowed: bool
    retry_after: float  # seconds


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    full_at: float


class Limiter:
    """Counts in this process, for each principal by its id."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError(f"rate {rate} must be above 0 and burst {burst} at least 1")
        self._rate = rate
        self._burst = burst
        #: gateways that enforce the limits together; each allows its share.
        self.gateways = 1
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._sweep_at = _SWEEP_AT

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, principal: Principal) -> RateState:
        """Count a request; a refused one takes nothing."""
        now = self._clock()
        rate = self._rate if principal.limits.rate is None else principal.limits.rate
        burst = self._burst if principal.limits.burst is None else principal.limits.burst
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

    @staticmethod
    def headers(state: RateState) -> list[tuple[bytes, bytes]]:
        """The fields of draft-ietf-httpapi-ratelimit-headers, and ``Retry-After`` on a refusal."""
        fields = [
            (b"ratelimit-policy", f'"{POLICY}";q={state.limit};w={math.ceil(state.window_seconds)}'.encode()),
            (b"ratelimit", f'"{POLICY}";r={state.remaining};t={math.ceil(state.reset_seconds)}'.encode()),
        ]
        if not state.allowed:
            fields.append((b"retry-after", b"%d" % max(1, math.ceil(state.retry_after))))
        return fields

    @staticmethod
    def refusal(state: RateState) -> PenstockError:
        """The 429 for a state that is not allowed."""
        window = math.ceil(state.window_seconds)
        wait = max(1, math.ceil(state.retry_after))
        text = (
            f"Policy '{POLICY}' allows {state.limit} requests at once, refilled within {window} s; "
            f"none is left. Try again in {wait} s."
        )
        return PenstockError(
            429,
            "rate-limited",
            text,
            headers={name.decode(): value.decode() for name, value in Limiter.headers(state)},
            extra={
                "policy": POLICY,
                "limit": state.limit,
                "remaining": state.remaining,
                "reset": math.ceil(state.reset_seconds),
            },
        )

    def _add(self, principal_id: str, burst: float, now: float) -> _Bucket:
        if len(self._buckets) >= self._sweep_at:
            # A full bucket says no more than an absent one. Doubling keeps the sweep's cost constant per bucket.
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if bucket.full_at > now}
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._buckets))
        bucket = self._buckets[principal_id] = _Bucket(burst, now, now)
        return bucket
