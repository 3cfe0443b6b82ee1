"""How errors quote a caller's value."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_gateway.signature.field_check import shown


class Untouchable:
    """Fails if its text is made."""

    def __repr__(self) -> str:
        raise AssertionError("an element was looked at")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("hello", "'hello'"),
        (True, "True"),
        (None, "None"),
        (1.5, "1.5"),
        (12, "12"),
        (10**80 - 1, "9" * 80),
        (10**80, "a whole number of more than 80 digits"),
        (-(10**4000), "a whole number of more than 80 digits"),
        ({"a": Untouchable()}, "an object"),
        ([Untouchable()] * 7, "a list of length 7"),
    ],
)
def test_a_value_is_quoted_in_bounded_time(value: Any, text: str) -> None:
    """Scalars are quoted, long numbers and containers described without a look inside."""
    assert shown(value) == text


def test_a_long_text_is_cut() -> None:
    """The start of a text is quoted."""
    assert len(shown("x" * 1_000_000)) == 80
    assert shown("x" * 1_000_000).startswith("'xxx")
