"""Globs decide which pool serves a model."""

import pytest

from penstock_common.pools import matches, pool_of


@pytest.mark.parametrize(
    ("patterns", "served"),
    [
        (["*"], True),
        (["s*"], True),
        (["digits"], False),
        (["*", "!spam"], False),
        (["!d*", "*"], True),
        (["!d*"], False),
        ([], False),
    ],
)
def test_globs_include_and_exclude(patterns: list[str], served: bool) -> None:
    """A model is served if a glob matches it and no ``!glob`` excludes it, in any order."""
    assert matches("spam", patterns) is served


def test_the_first_pool_that_matches_serves() -> None:
    """The order of the pools decides; a model that no pool matches has no pool."""
    pools = {"gpu": ["resnet*"], "cpu": ["*", "!secret"]}
    assert [pool_of(m, pools) for m in ("resnet50", "spam", "secret")] == ["gpu", "cpu", ""]
