"""Token buckets count requests and say how they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_gateway.auth.principal import Limits, Principal
from penstock_gateway.limits.local import Limiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


ANN = Principal("ann", "Ann")


def test_a_burst_then_the_rate(clock: Clock) -> None:
    """A new caller has its burst at once, then what the rate refills."""
    limiter = Limiter(8, 5, clock)
    assert [limiter.take(ANN).allowed for _ in range(6)] == [True] * 5 + [False]
    clock.now += 0.125
    assert [limiter.take(ANN).allowed for _ in range(2)] == [True, False]


def test_a_refused_request_takes_nothing(clock: Clock) -> None:
    """Asking again and again while refused does not put off the next token."""
    limiter = Limiter(1, 1, clock)
    assert limiter.take(ANN).allowed
    assert not any(limiter.take(ANN).allowed for _ in range(5))
    clock.now += 1
    assert limiter.take(ANN).allowed


def test_a_principals_own_limits_count(clock: Clock) -> None:
    """Rate and burst of the key go before the defaults; callers do not share."""
    limiter = Limiter(1, 1, clock)
    bob = Principal("bob", "Bob", limits=Limits(rate=100, burst=3))
    assert all(limiter.take(bob).allowed for _ in range(3))
    assert limiter.take(ANN).allowed
    assert limiter.take(bob).retry_after == pytest.approx(0.01)


def test_headers_follow_the_draft(clock: Clock) -> None:
    """Policy and state are structured fields; Retry-After comes only with a refusal."""
    limiter = Limiter(2, 4, clock)
    limiter.take(ANN)
    assert limiter.headers(limiter.take(ANN)) == [
        (b"ratelimit-policy", b'"default";q=4;w=2'),
        (b"ratelimit", b'"default";r=2;t=1'),
    ]
    limiter.take(ANN)
    limiter.take(ANN)
    assert limiter.headers(limiter.take(ANN))[2] == (b"retry-after", b"1")


def test_the_refusal_explains_itself(clock: Clock) -> None:
    """The 429 names policy, counter and reset, and carries the headers."""
    limiter = Limiter(1, 2, clock)
    limiter.take(ANN)
    limiter.take(ANN)
    error = limiter.refusal(limiter.take(ANN))
    assert (error.status, error.code) == (429, "rate-limited")
    assert error.extra == {"policy": "default", "limit": 2, "remaining": 0, "reset": 2}
    assert error.headers["retry-after"] == "1"
    assert "Try again in 1 s" in error.detail


def test_idle_buckets_are_forgotten(clock: Clock) -> None:
    """Buckets that are full again are dropped, those in use are kept."""
    limiter = Limiter(1, 2, clock)
    for i in range(5000):
        clock.now += 10
        limiter.take(Principal(str(i), ""))
    assert len(limiter) <= 1024
    limiter.take(ANN)
    limiter.take(ANN)
    for i in range(5000):
        limiter.take(Principal(f"new{i}", ""))
    assert not limiter.take(ANN).allowed


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_defaults_must_make_sense(rate: float, burst: float) -> None:
    """A limiter that could never allow anything is not built."""
    with pytest.raises(ValueError, match="rate"):
        Limiter(rate, burst)


@given(st.lists(st.floats(0, 5), max_size=60))
def test_no_more_than_burst_plus_rate(waits: list[float]) -> None:
    """Over any time, what is allowed is at most the burst and what the rate refilled."""
    clock = Clock()
    limiter = Limiter(2, 5, clock)
    taken = 0
    for wait in waits:
        clock.now += wait
        taken += sum(limiter.take(ANN).allowed for _ in range(4))
    assert taken <= 5 + 2 * (clock.now - 100) + 1e-6
