"""What a request costs its principal, from its arrival to its end."""

from __future__ import annotations

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.admission import Usage
from penstock_gateway.limits.local import LocalAdmission, LocalLease
from penstock_gateway.limits.token_bucket import TokenBuckets

ANN = Principal("ann", "Ann")
KB = 1024


@pytest.fixture
def admission() -> LocalAdmission:
    """A burst of 100 rows that never comes back; 64 kB of a body count as a row."""
    return LocalAdmission(TokenBuckets(1e-9, 100, lambda: 0.0), bytes_per_row=64 * KB)


def left(lease: LocalLease) -> int:
    """The rows that remain, as the answer's header says."""
    return int(dict(lease.headers())[b"ratelimit"].partition(b"r=")[2].partition(b";")[0])


def refusal(err: pytest.ExceptionInfo[PenstockError]) -> tuple[int, str, int]:
    return err.value.status, err.value.code, err.value.extra["cost"]


@pytest.mark.parametrize(
    ("size", "rows", "cost"),
    [
        (0, 1, 1),
        (100, 1, 1),
        (64 * KB, 1, 1),
        (64 * KB + 1, 1, 2),
        (3_000_000, 1, 46),
        (1000, 90, 90),
        (640 * KB, 90, 90),
        (640 * KB, 9, 10),
    ],
)
async def test_a_request_costs_its_rows_or_its_bytes(
    admission: LocalAdmission, size: int, rows: int, cost: int
) -> None:
    """Whichever is more; one row at least."""
    lease = admission.arrive(ANN, size)
    await lease.admit("m", rows)
    assert left(lease) == 100 - cost


async def test_parts_of_a_request_add_up(admission: LocalAdmission) -> None:
    """What is admitted in several parts costs all of them, and all of them are given back at the end."""
    lease = admission.arrive(ANN, 100)
    for _ in range(3):
        await lease.admit("m", 10)
    [(_, rows)] = admission.rows()
    assert (left(lease), rows.in_flight) == (70, 30)
    lease.settle(Usage(rows=30))
    assert (rows.in_flight, rows.answered) == (0, 30)


def test_a_large_body_is_refused_before_it_is_read(admission: LocalAdmission) -> None:
    """What its headers declare is charged at its arrival."""
    admission.arrive(ANN, 3_000_000)
    admission.arrive(ANN, 3_000_000)
    with pytest.raises(PenstockError) as err:
        admission.arrive(ANN, 3_000_000)
    assert refusal(err) == (429, "rate-limited", 46)
    assert left(admission.arrive(ANN, 100)) == 7


def test_a_body_that_grows_is_charged_for_its_size(admission: LocalAdmission) -> None:
    """One that declared nothing, or was compressed, costs what it is once it is there."""
    lease = admission.arrive(ANN, 0)
    lease.grow(640 * KB)
    assert left(lease) == 90


async def test_rows_beyond_the_limit_are_refused(admission: LocalAdmission) -> None:
    """The refusal names the cost; what was charged for the arrival stays charged, and no row is in flight."""
    first = admission.arrive(ANN, 100)
    await first.admit("m", 60)
    second = admission.arrive(ANN, 100)
    with pytest.raises(PenstockError) as err:
        await second.admit("m", 60)
    assert refusal(err) == (429, "rate-limited", 60)
    second.settle(Usage())
    assert left(admission.arrive(ANN, 100)) == 38
    assert [(name, rows.in_flight) for name, rows in admission.rows()] == [("m", 60)]


@pytest.mark.parametrize(("usage", "remaining"), [(Usage(rows=60), 40), (Usage(), 40), (Usage(refused=True), 99)])
async def test_what_was_refused_by_the_service_costs_one(
    admission: LocalAdmission, usage: Usage, remaining: int
) -> None:
    """A 503 gives its rows back, so that the next try can be paid; every other end costs what was reserved."""
    lease = admission.arrive(ANN, 100)
    await lease.admit("m", 60)
    lease.settle(usage)
    assert left(admission.arrive(ANN, 100)) == remaining - 1
