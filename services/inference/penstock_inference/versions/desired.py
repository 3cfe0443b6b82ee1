"""Which versions should be on this pod: those that an alias names, of the models of its pool.

While one of these is not ready, the newest earlier target of its alias that is ready stays; if one cannot be loaded,
an earlier target is loaded in its place.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from penstock_common.pools import matches
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model, Snapshot, Version

#: The name of a model and the number of a version.
VersionKey = tuple[str, int]


class DesiredVersions:
    """The registry's newest snapshot, reduced to this pool.

    Args:
        patterns: globs of the names of the pool's models; one that begins with ``!`` excludes.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._models: dict[str, Model] = {}
        self._unloaded: set[str] = set()

    def update(self, snapshot: Snapshot) -> None:
        """Replace what was known by a snapshot of the registry."""
        self._models = {model.name: model for model in snapshot.models if matches(model.name, self._patterns)}

    def unload(self, model: str) -> None:
        """Want no version of the model on this pod, whatever the aliases name."""
        self._unloaded.add(model)

    def load(self, model: str) -> None:
        """Undo ``unload``."""
        self._unloaded.discard(model)

    def is_unloaded(self, model: str) -> bool:
        """Return whether ``unload`` was called for the model, and ``load`` not since."""
        return model in self._unloaded

    def keys(self, ready: Set[VersionKey], failed: Set[VersionKey]) -> set[VersionKey]:
        """Return what should be here.

        Args:
            ready: the versions here that answer.
            failed: those that could not be loaded.
        """
        wanted: set[VersionKey] = set()
        for model in self._models.values():
            if model.name in self._unloaded:
                continue
            for alias, targets in model.aliases.items():
                named = _keys(model, targets)
                wanted |= named
                if not named <= ready:
                    wanted |= _in_their_place(model, alias, ready, failed, needed=bool(named & failed))
        return wanted

    def version(self, key: VersionKey) -> Version:
        """Return what the registry knows of one of ``keys()``."""
        name, number = key
        return self._models[name].versions[number]

    def has_model(self, model: str) -> bool:
        """Return whether the registry has the model and this pool serves it."""
        return model in self._models

    def targets(self, model: str, alias: str) -> list[AliasTarget]:
        """Return the versions that an alias names, with their weights; an empty ``alias`` is production."""
        known = self._models.get(model)
        return known.aliases.get(alias or PRODUCTION, []) if known else []

    def earlier_targets(self, model: str, alias: str) -> list[list[AliasTarget]]:
        """Return what an alias named before, newest first; an empty ``alias`` is production."""
        known = self._models.get(model)
        return known.earlier.get(alias or PRODUCTION, []) if known else []


def _keys(model: Model, targets: Sequence[AliasTarget]) -> set[VersionKey]:
    return {(model.name, target.version) for target in targets}


def _in_their_place(
    model: Model, alias: str, ready: Set[VersionKey], failed: Set[VersionKey], *, needed: bool
) -> set[VersionKey]:
    """Return the newest earlier target of an alias that is ready or, if one is ``needed``, that may become so."""
    for targets in model.earlier.get(alias, []):
        named = _keys(model, targets)
        if named <= ready or (needed and not named & failed):
            return named
    return set()
