"""The RateLimit header fields and the refusal that explains them.

The fields follow draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import math

import msgspec

from penstock_common.errors import PenstockError

POLICY = "default"


class RateState(msgspec.Struct):
    """A token bucket after a request was counted."""

    limit: int  # the burst
    remaining: int
    reset_seconds: float  # until the bucket is full again
    window_seconds: float  # from empty to full
    allowed: bool
    retry_after: float  # seconds


def ratelimit_headers(state: RateState) -> list[tuple[bytes, bytes]]:
    """``RateLimit-Policy`` and ``RateLimit``, and ``Retry-After`` on a refusal."""
    fields = [
        (b"ratelimit-policy", f'"{POLICY}";q={state.limit};w={math.ceil(state.window_seconds)}'.encode()),
        (b"ratelimit", f'"{POLICY}";r={state.remaining};t={math.ceil(state.reset_seconds)}'.encode()),
    ]
    if not state.allowed:
        fields.append((b"retry-after", b"%d" % max(1, math.ceil(state.retry_after))))
    return fields


def rate_limited(state: RateState) -> PenstockError:
    """The 429 ``rate-limited`` for a state that is not allowed."""
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
        headers={name.decode(): value.decode() for name, value in ratelimit_headers(state)},
        extra={
            "policy": POLICY,
            "limit": state.limit,
            "remaining": state.remaining,
            "reset": math.ceil(state.reset_seconds),
        },
    )
