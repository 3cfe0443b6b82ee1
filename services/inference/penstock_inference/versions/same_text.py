"""Whether two texts that a model gave are the same answer."""

from __future__ import annotations

import math
from typing import Any

import msgspec


def same_text(a: bytes, b: bytes) -> bool:
    """Whether texts are equal, or JSON whose numbers differ only as much as rounding makes them."""
    if a == b:
        return True
    try:
        return _same(msgspec.json.decode(a), msgspec.json.decode(b))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-2)
    return bool(a == b)
