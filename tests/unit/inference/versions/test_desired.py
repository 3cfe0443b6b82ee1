"""Which versions a pod should have: the aliases of its pool's models decide."""

from __future__ import annotations

import pytest

from penstock_common.manifest import Manifest
from penstock_common.registry_models import AliasTarget, Model, Snapshot, Version
from penstock_inference.versions.desired import DesiredVersions


@pytest.fixture
def desired(regression: Manifest) -> DesiredVersions:
    """A pool of all but ``slow-*``; spam has a canary and a staging alias, ham none, slow-1 is another pool's."""

    def model(name: str, **aliases: list[AliasTarget]) -> Model:
        return Model(name, 1, {n: Version(name, n, regression, [], "now") for n in (1, 2, 3)}, dict(aliases))

    canary = [AliasTarget(1, 90), AliasTarget(2, 10)]
    models = [
        model("spam", production=canary, staging=[AliasTarget(2)]),
        model("ham"),
        model("slow-1", production=[AliasTarget(1)]),
    ]
    desired = DesiredVersions(["*", "!slow-*"])
    desired.update(Snapshot("1", models))
    return desired


def test_every_version_that_an_alias_names_is_wanted(desired: DesiredVersions) -> None:
    """Both of a canary, once; nothing of another pool's model or of one without an alias."""
    assert desired.keys(set(), set()) == {("spam", 1), ("spam", 2)}
    assert desired.version(("spam", 2)).version == 2
    assert [desired.has_model(name) for name in ("spam", "ham", "slow-1")] == [True, True, False]


def test_an_alias_resolves_to_its_weighted_targets(desired: DesiredVersions) -> None:
    """No alias is production; an unknown alias or model has no targets."""
    assert [(t.version, t.weight) for t in desired.targets("spam", "")] == [(1, 90), (2, 10)]
    assert [t.version for t in desired.targets("spam", "staging")] == [2]
    assert desired.targets("spam", "unknown") == desired.targets("slow-1", "") == []


def test_an_unloaded_model_is_not_wanted_until_it_is_loaded(desired: DesiredVersions) -> None:
    """A new snapshot does not bring it back."""
    desired.unload("spam")
    assert desired.keys(set(), set()) == set()
    desired.load("spam")
    assert desired.keys(set(), set()) == {("spam", 1), ("spam", 2)}


@pytest.fixture
def promoted(regression: Manifest) -> DesiredVersions:
    """Production pointed at versions 1, 2 and 3 in turn."""
    versions = {n: Version("spam", n, regression, [], "now") for n in (1, 2, 3)}
    earlier = {"production": [[AliasTarget(2)], [AliasTarget(1)]]}
    desired = DesiredVersions(["*"])
    desired.update(Snapshot("1", [Model("spam", 1, versions, {"production": [AliasTarget(3)]}, earlier=earlier)]))
    return desired


def numbers(desired: DesiredVersions, ready: set[int], failed: set[int]) -> set[int]:
    keys = desired.keys({("spam", n) for n in ready}, {("spam", n) for n in failed})
    return {number for _, number in keys}


@pytest.mark.parametrize(
    ("ready", "failed", "wanted"),
    [
        (set(), set(), {3}),  # nothing is here yet: only the present target is loaded
        ({1}, set(), {3, 1}),  # what answers stays for as long as the present target loads
        ({3, 2, 1}, set(), {3}),
        (set(), {3}, {3, 2}),  # the present target cannot be loaded: the one before it is
        (set(), {3, 2}, {3, 1}),
        ({1}, {3, 2}, {3, 1}),
        (set(), {3, 2, 1}, {3}),
    ],
)
def test_an_earlier_target_stays_or_is_loaded_in_place_of_a_broken_one(
    promoted: DesiredVersions, ready: set[int], failed: set[int], wanted: set[int]
) -> None:
    """The newest that is ready, or that could become so if it is needed."""
    assert numbers(promoted, ready, failed) == wanted
