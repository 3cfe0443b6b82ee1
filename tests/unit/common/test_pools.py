"""Which pool serves which model."""

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
    """A model is served where a glob names it and no ``!glob`` excludes it, in any order."""
    assert matches("spam", patterns) is served


def test_the_first_pool_that_matches_serves() -> None:
    """Order decides; a model of no pool has none."""
    pools = {"gpu": ["resnet*"], "cpu": ["*", "!secret"]}
    assert [pool_of(m, pools) for m in ("resnet50", "spam", "secret")] == ["gpu", "cpu", ""]
