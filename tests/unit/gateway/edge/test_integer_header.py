"""Whole numbers in request headers."""

from __future__ import annotations

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.edge.integer_header import integer_header


@pytest.mark.parametrize(("given", "number"), [(b"0", 0), (b"100", 100), (b"007", 7)])
def test_a_number_within_the_bound_is_read(given: bytes, number: int) -> None:
    """Digits are a number, up to and including the bound."""
    assert integer_header({b"x-size": given}, b"x-size", 100, "bad-size") == number


def test_a_header_that_was_not_sent_is_none() -> None:
    """Absence is not an error."""
    assert integer_header({}, b"x-size", 100, "bad-size") is None


@pytest.mark.parametrize(
    "given", [b"", b"-1", b"+1", b"1_0", b"1.0", b" 1", b"x", b"101", "٣".encode(), b"\xb2", b"9" * 5000]
)
def test_anything_else_is_refused(given: bytes) -> None:
    """Signs, other digits, numbers past the bound and numbers of 5,000 digits are 400, quoted briefly."""
    with pytest.raises(PenstockError, match=r"X-Size: .* is not a whole number from 0 to 100") as caught:
        integer_header({b"x-size": given}, b"x-size", 100, "bad-size")
    assert (caught.value.status, caught.value.code) == (400, "bad-size")
    assert len(caught.value.detail) < 100
