"""One model: what the registry says of it, and what is in effect of that in this gateway."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Literal

import msgspec
import structlog

from penstock_common.registry_models import PRODUCTION, AliasTarget, Model, Version
from penstock_common.service import Service
from penstock_gateway.dataplane.servable import Servable

logger = structlog.get_logger()


class AliasShare(msgspec.Struct, frozen=True):
    """A version that an alias points at, with its share of the alias's traffic."""

    version: str
    weight: int


class LoadState(msgspec.Struct, frozen=True):
    """A version that an alias points at and that does not answer yet."""

    version: str
    state: Literal["loading", "failed"]
    reason: str  # what the newest failure was; empty while it is loading
    since: str  # when this gateway first saw it so, RFC 3339
    bytes: int  # of its files


class ModelListing(msgspec.Struct, frozen=True):
    """A model as ``GET /v1/models`` lists it; the aliases are those in effect in this gateway.

    ``id``, ``created`` (in seconds since 1970), ``object`` and ``owned_by`` are OpenAI's, the others are ours.
    """

    id: str
    created: int  # when its first version was registered
    ready: bool
    description: str
    aliases: dict[str, list[AliasShare]]
    versions: list[str]
    loading: list[LoadState]
    object: Literal["model"] = "model"
    owned_by: str = "penstock"
    service: Service | None = None


class Alias:
    """Targets in effect, with what a weighted choice needs."""

    __slots__ = ("cumulative", "servables", "targets")

    def __init__(self, targets: list[AliasTarget], servables: list[Servable]) -> None:
        self.targets = targets
        self.servables = servables
        self.cumulative = list(accumulate(t.weight for t in targets))

    def choose(self) -> Servable:
        if len(self.servables) == 1:
            return self.servables[0]
        return random.choices(self.servables, cum_weights=self.cumulative)[0]  # noqa: S311 (traffic split)


class ModelEntry:
    """A model in the catalog.

    Attributes:
        servables: the versions that are loaded in the pods, by number.
        aliases: those in effect, by name.
        loading: the versions that aliases point at and that are not loaded, by number.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.servables: dict[int, Servable] = {}
        self.aliases: dict[str, Alias] = {}
        self.loading: dict[int, LoadState] = {}

    def wanted(self) -> set[int]:
        """The versions that the aliases point at, and those before them if one of these cannot be loaded."""
        numbers: set[int] = set()
        for alias in self.model.aliases:
            for targets in self._candidates(alias):
                numbers.update(t.version for t in targets)
        return numbers

    def _candidates(self, alias: str) -> list[list[AliasTarget]]:
        """What an alias may point at now, the best first: what it pointed at before only if the rest has failed."""
        candidates = [self.model.aliases[alias]]
        if alias not in self.aliases:
            earlier = iter(self.model.earlier.get(alias, []))
            while self._failed(candidates[-1]) and (targets := next(earlier, None)) is not None:
                candidates.append(targets)
        return candidates

    def not_loaded(self, targets: Sequence[AliasTarget]) -> list[LoadState]:
        """The state of each version that is not loaded, those that could not be first."""
        states = [self.loading.get(target.version) for target in targets]
        return sorted([state for state in states if state is not None], key=lambda state: state.state != "failed")

    def _failed(self, targets: list[AliasTarget]) -> bool:
        return any(state.state == "failed" for state in self.not_loaded(targets))

    def put_into_effect(self) -> None:
        """Let each alias point at the best of what is loaded; one of which nothing is loaded stays as it is."""
        aliases: dict[str, Alias] = {}
        for name, targets in self.model.aliases.items():
            current = self.aliases.get(name)
            loaded = [c for c in self._candidates(name) if all(t.version in self.servables for t in c)]
            if current is not None and (current.targets == targets or not loaded):
                aliases[name] = current
            elif loaded:
                aliases[name] = Alias(loaded[0], [self.servables[t.version] for t in loaded[0]])
                numbers = [t.version for t in loaded[0]]
                logger.info("alias in effect", model=self.model.name, alias=name, versions=numbers)
        self.aliases = aliases
        kept = self.wanted() | {t.version for alias in aliases.values() for t in alias.targets}
        self.servables = {number: servable for number, servable in self.servables.items() if number in kept}

    def decided(self) -> bool:
        """Whether each alias is in effect, or cannot be."""
        return all(
            alias in self.aliases or (self._failed(self.model.aliases[alias]) and not self.model.earlier.get(alias))
            for alias in self.model.aliases
        )

    @property
    def service(self) -> Service | None:
        """What the production version is for, or the one that is about to be if none is in effect."""
        production = self.aliases.get(PRODUCTION)
        if production is not None:
            return production.servables[0].signature.manifest.service
        targets = self.model.aliases.get(PRODUCTION)
        version = self.model.versions.get(targets[0].version) if targets else None
        return None if version is None else version.manifest.service

    def listing(self) -> ModelListing:
        production = self.aliases.get(PRODUCTION)
        return ModelListing(
            id=self.model.name,
            created=min((_seconds(version.created) for version in self.model.versions.values()), default=0),
            ready=production is not None,
            description=production.servables[0].signature.manifest.description if production else "",
            aliases={
                alias: [AliasShare(str(t.version), t.weight) for t in in_effect.targets]
                for alias, in_effect in sorted(self.aliases.items())
            },
            versions=[str(number) for number in sorted(self.model.versions)],
            loading=[state for _, state in sorted(self.loading.items())],
            service=self.service,
        )


def _seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def loading_state(version: Version, failure: str) -> LoadState:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    size = sum(file.size for file in version.files)
    return LoadState(str(version.version), "failed" if failure else "loading", failure, now, size)
