"""Which versions should be on this pod: those that an alias names, of the models of its pool."""

from __future__ import annotations

from collections.abc import Sequence

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

    def keys(self) -> set[VersionKey]:
        return {
            (model.name, target.version)
            for model in self._models.values()
            if model.name not in self._unloaded
            for targets in model.aliases.values()
            for target in targets
        }

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
