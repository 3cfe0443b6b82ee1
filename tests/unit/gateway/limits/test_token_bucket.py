"""Token buckets count rows and say how they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_gateway.auth.principal import Limits, Principal
from penstock_gateway.limits.headers import rate_limited, ratelimit_headers
from penstock_gateway.limits.token_bucket import TokenBuckets


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
    buckets = TokenBuckets(8, 5, clock)
    assert [buckets.take(ANN).allowed for _ in range(6)] == [True] * 5 + [False]
    clock.now += 0.125
    assert [buckets.take(ANN).allowed for _ in range(2)] == [True, False]


def test_a_refused_request_takes_nothing(clock: Clock) -> None:
    """Asking again and again while refused does not put off the next token."""
    buckets = TokenBuckets(1, 1, clock)
    assert buckets.take(ANN).allowed
    assert not any(buckets.take(ANN).allowed for _ in range(5))
    clock.now += 1
    assert buckets.take(ANN).allowed


def test_a_principals_own_limits_count(clock: Clock) -> None:
    """Rate and burst of the key go before the defaults; callers do not share."""
    buckets = TokenBuckets(1, 1, clock)
    bob = Principal("bob", "Bob", limits=Limits(rate=100, burst=3))
    assert all(buckets.take(bob).allowed for _ in range(3))
    assert buckets.take(ANN).allowed
    assert buckets.take(bob).retry_after == pytest.approx(0.01)


def test_headers_follow_the_draft(clock: Clock) -> None:
    """Policy and state are structured fields, and OpenAI's beside them; Retry-After comes only with a refusal."""
    buckets = TokenBuckets(2, 4, clock)
    buckets.take(ANN)
    assert ratelimit_headers(buckets.take(ANN)) == [
        (b"ratelimit-policy", b'"default";q=4;qu="rows";w=2'),
        (b"ratelimit", b'"default";r=2;t=1'),
        (b"x-ratelimit-limit-requests", b"4"),
        (b"x-ratelimit-remaining-requests", b"2"),
        (b"x-ratelimit-reset-requests", b"1s"),
    ]
    buckets.take(ANN)
    buckets.take(ANN)
    assert dict(ratelimit_headers(buckets.take(ANN)))[b"retry-after"] == b"1"


def test_the_refusal_explains_itself(clock: Clock) -> None:
    """The 429 names policy, counter and reset, and carries the headers."""
    buckets = TokenBuckets(1, 2, clock)
    buckets.take(ANN)
    buckets.take(ANN)
    error = rate_limited(buckets.take(ANN), 1, 65536)
    assert (error.status, error.code) == (429, "rate-limited")
    assert error.extra == {
        "policy": "default",
        "bound": "burst",
        "limit": 2,
        "remaining": 0,
        "cost": 1,
        "reset": 2,
    }
    assert (error.headers["retry-after"], error.headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    assert "this request costs 1" in error.detail
    assert "Try again in 1 s" in error.detail


def test_a_request_costs_what_it_costs(clock: Clock) -> None:
    """Four requests of 1,024 rows take 4,096 tokens; a fifth waits until there are enough again."""
    buckets = TokenBuckets(100, 4500, clock)
    assert [buckets.take(ANN, 1024).remaining for _ in range(4)] == [3476, 2452, 1428, 404]
    refused = buckets.take(ANN, 1024)
    assert (refused.allowed, refused.remaining, refused.retry_after) == (False, 404, pytest.approx(6.2))
    assert buckets.take(ANN, 400).allowed


def test_what_costs_more_than_a_burst_leaves_a_debt(clock: Clock) -> None:
    """It is let in when the bucket is full, and the rate pays for all of it before anything else is."""
    buckets = TokenBuckets(10, 100, clock)
    buckets.take(ANN)
    refused = buckets.take(ANN, 300)
    assert (refused.allowed, refused.retry_after) == (False, pytest.approx(0.1))
    clock.now += 1
    paid = buckets.take(ANN, 300)
    assert (paid.allowed, paid.remaining, paid.reset_seconds) == (True, 0, pytest.approx(30))
    refused = buckets.take(ANN)
    assert (refused.allowed, refused.retry_after) == (False, pytest.approx(20.1))
    clock.now += 21
    assert buckets.take(ANN).allowed


def test_the_rest_of_a_cost_is_taken_once_it_is_known(clock: Clock) -> None:
    """A cost is told in parts; what was refused is told the time after which all of it is there."""
    buckets = TokenBuckets(10, 100, clock)
    assert buckets.take(ANN, 2).remaining == 98
    assert buckets.take(ANN, 100, taken=2).remaining == 0
    clock.now += 5
    buckets.take(ANN, 2)
    refused = buckets.take(ANN, 100, taken=2)
    assert (refused.allowed, refused.retry_after) == (False, pytest.approx(5.2))
    clock.now += 5.3
    buckets.take(ANN, 2)
    assert buckets.take(ANN, 100, taken=2).allowed


def test_what_is_given_back_can_be_taken_again(clock: Clock) -> None:
    """And never makes more than a burst."""
    buckets = TokenBuckets(1, 10, clock)
    buckets.take(ANN, 10)
    buckets.give_back(ANN, 9)
    assert buckets.take(ANN).remaining == 8
    buckets.give_back(ANN, 100)
    assert buckets.take(ANN).remaining == 9
    buckets.give_back(Principal("bob", "Bob"), 5)


def test_idle_buckets_are_forgotten(clock: Clock) -> None:
    """Buckets that are full again are dropped, those in use are kept."""
    buckets = TokenBuckets(1, 2, clock)
    for i in range(5000):
        clock.now += 10
        buckets.take(Principal(str(i), ""))
    assert len(buckets) <= 1024
    buckets.take(ANN)
    buckets.take(ANN)
    for i in range(5000):
        buckets.take(Principal(f"new{i}", ""))
    assert not buckets.take(ANN).allowed


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_defaults_must_make_sense(rate: float, burst: float) -> None:
    """A buckets that could never allow anything is not built."""
    with pytest.raises(ValueError, match="rate"):
        TokenBuckets(rate, burst)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 12)), max_size=60))
def test_no_more_than_burst_plus_rate(asked: list[tuple[float, int]]) -> None:
    """Over any time, what is allowed is at most the burst, what the rate refilled, and one request in debt."""
    clock = Clock()
    buckets = TokenBuckets(2, 5, clock)
    taken = 0
    for wait, cost in asked:
        clock.now += wait
        taken += sum(cost for _ in range(4) if buckets.take(ANN, cost).allowed)
    assert taken <= 5 + 2 * (clock.now - 100) + (12 - 5) + 1e-6
