"""The header fields of rate limits and the refusal that explains them.

The ``RateLimit`` fields follow draft-ietf-httpapi-ratelimit-headers. Its quota unit (``qu``) is by default the request;
here it is the row. The ``x-ratelimit-*-requests`` say the same to OpenAI's clients
(platform.openai.com/docs/guides/rate-limits): a request for one text is one row.
"""

from __future__ import annotations

import functools
import math

import msgspec

from penstock_common.errors import PenstockError

POLICY = "default"


class RateState(msgspec.Struct):
    """A token bucket after a request was counted; tokens are rows."""

    limit: int  # the burst
    remaining: int
    reset_seconds: float  # until the bucket is full again
    window_seconds: float  # from empty to full
    allowed: bool
    retry_after: float  # seconds


def ratelimit_headers(state: RateState) -> list[tuple[bytes, bytes]]:
    """``RateLimit-Policy``, ``RateLimit`` and the three of OpenAI, and ``Retry-After`` on a refusal."""
    reset = math.ceil(state.reset_seconds)
    fields = [
        (b"ratelimit-policy", _policy(state.limit, state.window_seconds)),
        (b"ratelimit", f'"{POLICY}";r={state.remaining};t={reset}'.encode()),
        (b"x-ratelimit-limit-requests", b"%d" % state.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % state.remaining),
        (b"x-ratelimit-reset-requests", b"%ds" % reset),
    ]
    if not state.allowed:
        fields.append((b"retry-after", b"%d" % max(1, math.ceil(state.retry_after))))
    return fields


@functools.lru_cache
def _policy(limit: int, window_seconds: float) -> bytes:
    return f'"{POLICY}";q={limit};qu="rows";w={math.ceil(window_seconds)}'.encode()


def rate_limited(state: RateState, cost: int, bytes_per_row: int) -> PenstockError:
    """The 429 ``rate-limited`` for a request of ``cost`` rows and a state that is not allowed."""
    window = math.ceil(state.window_seconds)
    wait = max(1, math.ceil(state.retry_after))
    text = (
        f"Policy '{POLICY}' allows {state.limit} rows at once, refilled within {window} s; {state.remaining} are left, "
        f"and this request costs {cost}: its rows, or one for each started {bytes_per_row} bytes of its body if that "
        f"is more. Try again in {wait} s, or ask for a key with a higher rate."
    )
    return PenstockError(
        429,
        "rate-limited",
        text,
        headers={name.decode(): value.decode() for name, value in ratelimit_headers(state)},
        extra={
            "policy": POLICY,
            "bound": "burst",
            "limit": state.limit,
            "remaining": state.remaining,
            "cost": cost,
            "reset": math.ceil(state.reset_seconds),
        },
    )
