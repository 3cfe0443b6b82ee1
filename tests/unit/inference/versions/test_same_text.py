"""Which texts of a model are the same answer."""

from __future__ import annotations

import pytest

from penstock_inference.versions.same_text import same_text


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (b"ham", b"ham", True),
        (b"ham", b"spam", False),
        (b"\xff", b"\xfe", False),
        (b'[{"label": "cat", "score": 0.90001, "box": [1.0, 399.98]}]', b'[{"label":"cat","score":0.9,"box":[1.0,400.0]}]', True),
        (b'[{"score": 0.9}]', b'[{"score": 0.8}]', False),
        (b'[{"label": "cat"}]', b'[{"label": "dog"}]', False),
        (b"[0.5]", b"[0.5, 0.5]", False),
        (b'{"a": 1.0}', b'{"b": 1.0}', False),
        (b"1", b"2", False),
    ],
)  # fmt: skip
def test_numbers_of_json_may_differ_by_rounding(a: bytes, b: bytes, same: bool) -> None:
    """All else is equal or is not the same: labels, whole numbers, how many there are, and texts that are not JSON."""
    assert same_text(a, b) is same
