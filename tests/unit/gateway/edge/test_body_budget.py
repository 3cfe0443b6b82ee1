"""The bytes of bodies in flight."""

from __future__ import annotations

import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.edge.body_budget import BodyBudget


def refused(budget: BodyBudget, key: str, size: int) -> tuple[int, str]:
    with pytest.raises(PenstockError) as caught:
        budget.take(key, size)
    return caught.value.status, caught.value.extra["bound"]


def test_a_key_has_its_share() -> None:
    """A key over its bound is refused with 429, and others are not."""
    budget = BodyBudget(100, 60)
    budget.take("a", 60)
    assert refused(budget, "a", 1) == (429, "max_bodies_bytes_per_key")
    budget.take("b", 40)


def test_all_together_have_a_bound() -> None:
    """Once the sum is reached even a new key is refused, with 503."""
    budget = BodyBudget(100, 60)
    budget.take("a", 60)
    budget.take("b", 40)
    assert refused(budget, "c", 1) == (503, "max_bodies_bytes")


def test_what_ends_makes_room() -> None:
    """A request gives back all that it held, once, whatever it was refused meanwhile."""
    budget = BodyBudget(100, 60)
    hold = budget.hold("a")
    hold.take(50)
    hold.take(10)
    with pytest.raises(PenstockError):
        hold.take(1)
    assert budget.held == 60
    hold.release()
    hold.release()
    assert budget.held == 0
    budget.take("a", 60)
