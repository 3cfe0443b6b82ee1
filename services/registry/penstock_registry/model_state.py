"""What a model's log amounts to: the state after its entries."""

from __future__ import annotations

import msgspec

from penstock_common.registry_models import AliasTarget, Damage, LogEntry, Model, Version

#: Earlier targets of an alias that are kept.
_MAX_EARLIER = 4


class UnusableEntryError(ValueError):
    """An entry that contradicts the state before it."""


class ModelState(msgspec.Struct, frozen=True):
    """A model's state; it is also what a checkpoint holds. Never changed, only replaced."""

    model: Model
    last_version: int = 0  # the highest number that a version has, or may have had
    removed_blobs: frozenset[str] = frozenset()  # digests that only quarantined or deleted versions name

    @property
    def revision(self) -> int:
        return self.model.revision

    @property
    def exists(self) -> bool:
        """False before the first entry and after a deletion."""
        return bool(self.model.versions or self.model.aliases or self.model.damage)


def empty_state(name: str) -> ModelState:
    return ModelState(Model(name, 0, {}, {}))


def apply_entry(state: ModelState, entry: LogEntry) -> ModelState:
    """The state after one more entry.

    Raises:
        UnusableEntryError: if the entry names a version that the state does not have, or lacks what its kind needs.
    """
    model = state.model
    versions, aliases, damage = dict(model.versions), dict(model.aliases), model.damage
    earlier = dict(model.earlier)
    last_version, removed = state.last_version, state.removed_blobs
    match entry.kind:
        case "registered":
            if entry.version is None or entry.version.model != model.name:
                raise UnusableEntryError(f"it does not hold a version of {model.name!r}")
            if entry.version.version in versions:
                raise UnusableEntryError(f"there is a version {entry.version.version} already")
            versions[entry.version.version] = entry.version
            last_version = max(last_version, entry.version.version)
        case "alias-set":
            for target in entry.targets:
                if target.version not in versions:
                    raise UnusableEntryError(f"{entry.alias!r} names version {target.version}, which is not there")
            before = [aliases.get(entry.alias, []), *earlier.get(entry.alias, [])]
            aliases[entry.alias] = entry.targets
            earlier[entry.alias] = [targets for targets in before if targets not in ([], entry.targets)][:_MAX_EARLIER]
        case "alias-deleted":
            aliases.pop(entry.alias, None)
            earlier.pop(entry.alias, None)
        case "retired":
            versions[entry.retired] = msgspec.structs.replace(_known(versions, entry.retired), retired=True)
            earlier = _earlier_without(earlier, entry.retired)
        case "version-quarantined":
            removed |= _digests([_known(versions, entry.quarantined)])
            del versions[entry.quarantined]
            aliases = _without(aliases, entry.quarantined)
            earlier = _earlier_without(earlier, entry.quarantined)
        case "repaired":
            damage = [d for d in damage if d.entry not in entry.lost]
        case "deleted":
            removed |= _digests(list(versions.values()))
            versions, aliases, damage, earlier = {}, {}, [], {}
    earlier = {alias: targets for alias, targets in earlier.items() if alias in aliases and targets}
    return ModelState(Model(model.name, entry.entry, versions, aliases, damage, earlier), last_version, removed)


def set_aside(state: ModelState, entry: int, last: int, reason: str) -> ModelState:
    """The state without the entries from ``entry`` to ``last``; each may have been a new version."""
    model = state.model
    damage = [*model.damage, Damage(entry, reason)]
    lost = last - entry + 1
    changed = msgspec.structs.replace(model, revision=last, damage=damage)
    return ModelState(changed, state.last_version + lost, state.removed_blobs)


def _known(versions: dict[int, Version], number: int) -> Version:
    if number not in versions:
        raise UnusableEntryError(f"it names version {number}, which is not there")
    return versions[number]


def _without(aliases: dict[str, list[AliasTarget]], number: int) -> dict[str, list[AliasTarget]]:
    kept = {alias: [t for t in targets if t.version != number] for alias, targets in aliases.items()}
    return {alias: targets for alias, targets in kept.items() if targets}


def _earlier_without(earlier: dict[str, list[list[AliasTarget]]], number: int) -> dict[str, list[list[AliasTarget]]]:
    """The earlier targets of each alias of which none names a version."""
    return {
        alias: [targets for targets in before if number not in {target.version for target in targets}]
        for alias, before in earlier.items()
    }


def _digests(versions: list[Version]) -> frozenset[str]:
    return frozenset(file.sha256 for version in versions for file in version.files)
