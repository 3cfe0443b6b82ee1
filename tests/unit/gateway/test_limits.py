"""Token buckets count rows and say how they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_gateway.keys import Principal
from penstock_gateway.limits import Limiter


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
    """A refusal leaves the tokens for smaller requests."""
    limiter = Limiter(1, 10, clock)
    limiter.take(ANN, 8)
    assert not limiter.take(ANN, 3).allowed
    assert limiter.take(ANN, 2).allowed


def test_a_principals_own_limits_count(clock: Clock) -> None:
    """Rate and burst of the key go before the defaults; callers do not share."""
    limiter = Limiter(1, 1, clock)
    bob = Principal("bob", "Bob", rate=100, burst=3)
    assert limiter.take(bob, 3).allowed
    assert limiter.take(ANN).allowed
    assert limiter.take(bob).retry_after == pytest.approx(0.01)


def test_headers_follow_the_draft(clock: Clock) -> None:
    """Policy and state are structured fields; Retry-After comes only with a refusal."""
    limiter = Limiter(2, 4, clock)
    assert limiter.headers(limiter.take(ANN, 3)) == [
        (b"ratelimit-policy", b'"default";q=4;w=2'),
        (b"ratelimit", b'"default";r=1;t=2'),
    ]
    assert limiter.headers(limiter.take(ANN, 4))[2] == (b"retry-after", b"2")


def test_the_refusal_explains_itself(clock: Clock) -> None:
    """The 429 names policy, counter and reset, and carries the headers."""
    limiter = Limiter(1, 2, clock)
    limiter.take(ANN, 2)
    error = limiter.refusal(limiter.take(ANN))
    assert (error.status, error.code) == (429, "rate-limited")
    assert error.extra == {"policy": "default", "limit": 2, "remaining": 0, "reset": 2}
    assert error.headers["retry-after"] == "1"
    assert "Try again in 1 s" in error.detail


def test_a_request_that_can_never_fit_says_so(clock: Clock) -> None:
    """More rows than the burst are refused with the advice to split, and no Retry-After."""
    limiter = Limiter(1, 2, clock)
    state = limiter.take(ANN, 3)
    assert not state.allowed
    assert "split" in limiter.refusal(state).detail
    assert "retry-after" not in limiter.refusal(state).headers


def test_idle_buckets_are_forgotten(clock: Clock) -> None:
    """Buckets that are full again are dropped, those in use are kept."""
    limiter = Limiter(1, 2, clock)
    for i in range(5000):
        clock.now += 10
        limiter.take(Principal(str(i), ""))
    assert len(limiter) <= 1024
    limiter.take(ANN, 2)
    for i in range(5000):
        limiter.take(Principal(f"new{i}", ""))
    assert not limiter.take(ANN).allowed


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_defaults_must_make_sense(rate: float, burst: float) -> None:
    """A limiter that could never allow anything is not built."""
    with pytest.raises(ValueError, match="rate"):
        Limiter(rate, burst)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 6)), max_size=60))
def test_no_more_than_burst_plus_rate(requests: list[tuple[float, int]]) -> None:
    """Over any time, what is allowed is at most the burst and what the rate refilled."""
    clock = Clock()
    limiter = Limiter(2, 5, clock)
    taken = 0
    for wait, cost in requests:
        clock.now += wait
        taken += cost if limiter.take(ANN, cost).allowed else 0
    assert taken <= 5 + 2 * (clock.now - 100) + 1e-6
