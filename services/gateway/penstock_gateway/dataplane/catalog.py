"""Which models there are, and which version answers a request.

Follows the registry and keeps the last good state when it is away. An alias
moves only once its new versions are loaded and warm in the pods; until then
requests go where they went before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from itertools import accumulate
from typing import Protocol

import msgspec
import structlog

from penstock_common.errors import PenstockError
from penstock_common.registry_models import PRODUCTION, AliasTarget, Model, Snapshot, Version
from penstock_gateway.dataplane.servable import Servable

logger = structlog.get_logger()

#: Seconds between two probes of a version that some pod lacks.
_PROBE_INTERVAL = 0.1
#: A gateway that starts waits this long for the models to be in effect before it calls itself ready.
_FIRST_PATIENCE = 15.0

MakeServable = Callable[[Version], Servable]


class Readiness(Protocol):
    async def model_ready(self, model: str, version: int) -> bool:
        """Whether the pod that Envoy chooses has this version loaded and warm."""


class AliasShare(msgspec.Struct, frozen=True):
    """A version that an alias points at, with its share of the alias's traffic."""

    version: str
    weight: int


class ModelListing(msgspec.Struct, frozen=True):
    """A model as ``GET /v1/models`` lists it; the aliases are those in effect in this gateway."""

    name: str
    ready: bool
    description: str
    aliases: dict[str, list[AliasShare]]
    versions: list[str]


class _Alias:
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


class _Entry:
    """A model: what the registry says of it, and what is in effect here."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.servables: dict[int, Servable] = {}
        self.aliases: dict[str, _Alias] = {}


class Catalog:
    """The routing table.

    Args:
        readiness: asks the pods whether a version is loaded.
        make_servable: makes the servable of each version that gets traffic.
        probes: how many positive answers in a row show that a model's version is loaded.
    """

    def __init__(self, readiness: Readiness, make_servable: MakeServable, probes: Callable[[str], int]) -> None:
        self._readiness = readiness
        self._make_servable = make_servable
        self._probes_needed = probes
        self._entries: dict[str, _Entry] = {}
        self._probes: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._first: asyncio.Task[None] | None = None
        self._store = ""
        self.synced = False
        #: The aliases of the first snapshot are in effect, or have had their time. A gateway that took
        #: traffic before that would refuse what its neighbours answer.
        self.settled = False

    async def close(self) -> None:
        tasks = [*self._probes.values(), *([self._first] if self._first else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def update(self, snapshot: Snapshot) -> None:
        """Take over a snapshot of the registry."""
        if snapshot.store != self._store:
            # Another store's version 1 is not this one's, whatever its name.
            self._entries = {}
            self._store = snapshot.store
        entries: dict[str, _Entry] = {}
        for model in snapshot.models:
            entry = self._entries.get(model.name) or _Entry(model)
            entry.model = model
            entries[model.name] = entry
        self._entries = entries
        self.synced = True
        for entry in entries.values():
            self._settle(entry)
        if self._first is None:
            self._first = asyncio.create_task(self._settle_first())

    async def _settle_first(self) -> None:
        if self._probes:
            await asyncio.wait(self._probes.values(), timeout=_FIRST_PATIENCE)
        self.settled = True

    def _settle(self, entry: _Entry) -> None:
        """Put into effect what is ready, and probe for what is not."""
        model = entry.model
        wanted = {t.version for targets in model.aliases.values() for t in targets}
        for number in wanted - entry.servables.keys():
            key = (model.name, number)
            if key not in self._probes:
                self._probes[key] = asyncio.create_task(self._probe(*key))
        aliases: dict[str, _Alias] = {}
        for name, targets in model.aliases.items():
            current = entry.aliases.get(name)
            if current is not None and current.targets == targets:
                aliases[name] = current
            elif all(t.version in entry.servables for t in targets):
                aliases[name] = _Alias(targets, [entry.servables[t.version] for t in targets])
                logger.info("alias in effect", model=model.name, alias=name, versions=[t.version for t in targets])
            elif current is not None:
                aliases[name] = current
        entry.aliases = aliases
        in_effect = {t.version for alias in aliases.values() for t in alias.targets}
        entry.servables = {n: s for n, s in entry.servables.items() if n in wanted or n in in_effect}

    async def _probe(self, name: str, number: int) -> None:
        """Wait until the pods have loaded a version, then make it answer requests."""
        try:
            in_a_row = 0
            while True:
                entry = self._entries.get(name)
                if entry is None or number not in {t.version for ts in entry.model.aliases.values() for t in ts}:
                    return
                if in_a_row >= self._probes_needed(name):
                    break
                if await self._readiness.model_ready(name, number):
                    in_a_row += 1
                else:
                    in_a_row = 0
                    await asyncio.sleep(_PROBE_INTERVAL)
            entry.servables[number] = self._make_servable(entry.model.versions[number])
        finally:
            self._probes.pop((name, number), None)
        self._settle(entry)

    def resolve(self, name: str, version: str = "") -> Servable:
        """The servable of a request.

        Args:
            name: a model, or ``model@alias``.
            version: a version's number, or empty for the alias (``production`` by default).

        Raises:
            PenstockError: 404 ``unknown-model``, ``unknown-alias``, ``unknown-version``;
                409 ``version-not-served``; 503 ``model-loading``.
        """
        model_name, _, alias_name = name.partition("@")
        entry = self._entries.get(model_name)
        if entry is None:
            raise self._unknown_model(model_name)
        if version:
            return self._resolve_version(entry, version)
        alias = entry.aliases.get(alias_name or PRODUCTION)
        if alias is not None:
            return alias.choose()
        if (alias_name or PRODUCTION) in entry.model.aliases:
            raise _loading(model_name, "Its first version is still being loaded")
        known = ", ".join(sorted(entry.model.aliases)) or "none"
        raise PenstockError(
            404,
            "unknown-alias",
            f"Model {model_name!r} has no alias {alias_name or PRODUCTION!r}; its aliases: {known}.",
        )

    def _resolve_version(self, entry: _Entry, version: str) -> Servable:
        name = entry.model.name
        number = int(version) if version.isdecimal() and len(version) < 10 else 0
        servable = entry.servables.get(number)
        if servable is not None:
            return servable
        if number not in entry.model.versions:
            known = ", ".join(str(n) for n in sorted(entry.model.versions)[-10:])
            raise PenstockError(
                404, "unknown-version", f"Model {name!r} has no version {version!r}; its newest versions: {known}."
            )
        if any(t.version == number for targets in entry.model.aliases.values() for t in targets):
            raise _loading(name, f"Version {version} is still being loaded")
        raise PenstockError(
            409,
            "version-not-served",
            f"Version {version} of {name!r} is registered but no alias points at it, so no pod serves it; "
            f"point one at it, for example: penstock promote {name} {version} --alias candidate",
        )

    def _unknown_model(self, name: str) -> PenstockError:
        if not self.synced:
            return _loading(name, "The registry has not been reached yet")
        known = ", ".join(sorted(self._entries)) or "none yet"
        return PenstockError(404, "unknown-model", f"There is no model {name!r}; models here: {known}.")

    def models(self) -> list[ModelListing]:
        return [_listing(entry) for _, entry in sorted(self._entries.items())]

    def servables(self) -> list[Servable]:
        """Every version that may get traffic; also called by the thread that answers Prometheus."""
        return [s for entry in list(self._entries.values()) for s in list(entry.servables.values())]

    def production(self) -> list[Servable]:
        """One servable for each model whose production alias is in effect, for the documentation."""
        entries = [entry for _, entry in sorted(self._entries.items())]
        return [entry.aliases[PRODUCTION].servables[0] for entry in entries if PRODUCTION in entry.aliases]


def _listing(entry: _Entry) -> ModelListing:
    production = entry.aliases.get(PRODUCTION)
    return ModelListing(
        name=entry.model.name,
        ready=production is not None,
        description=production.servables[0].signature.manifest.description if production else "",
        aliases={
            alias: [AliasShare(str(t.version), t.weight) for t in in_effect.targets]
            for alias, in_effect in sorted(entry.aliases.items())
        },
        versions=[str(number) for number in sorted(entry.model.versions)],
    )


def _loading(name: str, what: str) -> PenstockError:
    return PenstockError(
        503, "model-loading", f"{what}: {name!r} cannot answer yet; try again shortly.", headers={"Retry-After": "1"}
    )
