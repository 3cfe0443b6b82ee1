"""Which models there are, and which version answers a request.

Follows the registry and keeps the last good state when it is away. An alias
moves only once its new versions are loaded and warm in the pods; until then
requests go where they went before. A gateway that has just started and finds that
a version cannot be loaded sends them where the alias pointed before that.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from penstock_common.errors import PenstockError
from penstock_common.pools import matches
from penstock_common.registry_models import PRODUCTION, Snapshot, Version
from penstock_common.service import Service
from penstock_gateway.dataplane.default_model import default_model
from penstock_gateway.dataplane.model_entry import LoadState, ModelEntry, ModelListing, loading_state
from penstock_gateway.dataplane.servable import Servable

logger = structlog.get_logger()

#: Seconds between two probes of a version that some pod lacks.
_PROBE_INTERVAL = 0.1
#: Probes after which the pods are asked why a version is not loaded.
_PROBES_A_QUESTION = 10
#: A gateway that starts waits this long for the models to be in effect before it calls itself ready.
_FIRST_PATIENCE = 15.0

MakeServable = Callable[[Version], Servable]


class Readiness(Protocol):
    async def model_ready(self, model: str, version: int) -> bool:
        """Whether the pod that Envoy chooses has this version loaded and warm."""

    async def load_failure(self, model: str, version: int) -> str:
        """Why the pod that Envoy chooses could not load this version; empty if it says nothing of that."""


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
        self._entries: dict[str, ModelEntry] = {}
        self._probes: dict[tuple[ModelEntry, int], asyncio.Task[None]] = {}
        self._first: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
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
        entries: dict[str, ModelEntry] = {}
        for model in snapshot.models:
            entry = self._entries.get(model.name) or ModelEntry(model)
            entry.model = model
            entries[model.name] = entry
        self._entries = entries
        self.synced = True
        for entry in entries.values():
            self._settle(entry)
        if self._first is None:
            self._first = asyncio.create_task(self._settle_first())

    async def _settle_first(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_PATIENCE):
                while not all(entry.decided() for entry in self._entries.values()):
                    self._changed.clear()
                    await self._changed.wait()
        self.settled = True

    def _settle(self, entry: ModelEntry) -> None:
        """Put into effect what is ready, and probe for what is not."""
        entry.put_into_effect()
        for number in entry.wanted() - entry.servables.keys():
            if (entry, number) not in self._probes:
                entry.loading[number] = loading_state(entry.model.versions[number], "")
                self._probes[entry, number] = asyncio.create_task(self._probe(entry, number))
        self._changed.set()

    async def _probe(self, entry: ModelEntry, number: int) -> None:
        """Wait until the pods have loaded a version, then make it answer requests."""
        name = entry.model.name
        try:
            questions = in_a_row = 0
            while in_a_row < self._probes_needed(name):
                if await self._readiness.model_ready(name, number):
                    in_a_row += 1
                else:
                    in_a_row = 0
                    if questions % _PROBES_A_QUESTION == 0:
                        self._note(entry, number, await self._readiness.load_failure(name, number))
                    questions += 1
                    await asyncio.sleep(_PROBE_INTERVAL)
                if self._entries.get(name) is not entry or number not in entry.wanted():
                    return
            entry.servables[number] = self._make_servable(entry.model.versions[number])
        finally:
            self._probes.pop((entry, number), None)
            entry.loading.pop(number, None)
        self._settle(entry)

    def _note(self, entry: ModelEntry, number: int, failure: str) -> None:
        """Remember why a version could not be loaded, also while the pods try again; what came before it may answer."""
        version = entry.model.versions.get(number)
        if failure and version is not None and entry.loading[number].reason != failure:
            logger.warning("version not loaded", model=entry.model.name, version=number, reason=failure)
            entry.loading[number] = loading_state(version, failure)
            self._settle(entry)

    def resolve(self, name: str, version: str = "", allowed: Sequence[str] | None = None) -> Servable:
        """The servable of a request.

        Args:
            name: a model, or ``model@alias``.
            version: a version's number, or empty for the alias (``production`` by default).
            allowed: patterns of the models whose names the caller may see; None for all.

        Raises:
            PenstockError: 404 ``unknown-model``, ``unknown-alias``, ``unknown-version``;
                409 ``version-not-served``; 503 ``model-loading`` or ``model-unavailable``.
        """
        model_name, _, alias_name = name.partition("@")
        entry = self._entries.get(model_name)
        if entry is None:
            raise self._unknown_model(model_name, allowed)
        if version:
            return self._resolve_version(entry, version)
        alias = entry.aliases.get(alias_name or PRODUCTION)
        if alias is not None:
            return alias.choose()
        targets = entry.model.aliases.get(alias_name or PRODUCTION)
        if targets is not None:
            for state in entry.not_loaded(targets):
                raise _not_loaded(model_name, state, "Its first version")
            raise _loading(model_name, "Its first version is still being loaded")
        known = ", ".join(sorted(entry.model.aliases)) or "none"
        raise PenstockError(
            404,
            "unknown-alias",
            f"Model {model_name!r} has no alias {alias_name or PRODUCTION!r}; its aliases: {known}.",
        )

    def _resolve_version(self, entry: ModelEntry, version: str) -> Servable:
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
            state = entry.loading.get(number)
            if state is not None:
                raise _not_loaded(name, state, f"Version {version}")
            raise _loading(name, f"Version {version} is still being loaded")
        raise PenstockError(
            409,
            "version-not-served",
            f"Version {version} of {name!r} is registered but no alias points at it, so no pod serves it; "
            f"point one at it, for example: penstock promote {name} {version} --alias candidate",
        )

    def _unknown_model(self, name: str, allowed: Sequence[str] | None) -> PenstockError:
        if not self.synced:
            return _loading(name, "The registry has not been reached yet")
        known = ", ".join(self._names(allowed)) or "none yet"
        return PenstockError(404, "unknown-model", f"There is no model {name!r}; models here: {known}.")

    def default_model(self, service: Service, allowed: Sequence[str] | None = None) -> str:
        """The model that answers for a service if a request names none; ``allowed`` as for ``resolve``.

        Raises:
            PenstockError: 404 ``no-model-for-service``; 400 ``several-models``; 503 ``model-loading``.
        """
        if not self.synced:
            raise _loading(service, "The registry has not been reached yet")
        entries = [entry for name, entry in sorted(self._entries.items()) if allowed is None or matches(name, allowed)]
        return default_model(service, [entry.model.name for entry in entries if entry.service is service])

    def models(self, allowed: Sequence[str] | None = None) -> list[ModelListing]:
        """The models that match ``allowed``, by name; all if it is None."""
        return [self._entries[name].listing() for name in self._names(allowed)]

    def _names(self, allowed: Sequence[str] | None) -> list[str]:
        return [name for name in sorted(self._entries) if allowed is None or matches(name, allowed)]

    def listing(self, name: str, allowed: Sequence[str] | None = None) -> ModelListing:
        """One model; ``allowed`` as for ``resolve``.

        Raises:
            PenstockError: 404 ``unknown-model``.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise self._unknown_model(name, allowed)
        return entry.listing()

    def servables(self) -> list[Servable]:
        """Every version that may get traffic; also called by the thread that answers Prometheus."""
        return [s for entry in list(self._entries.values()) for s in list(entry.servables.values())]

    def production(self) -> list[Servable]:
        """One servable for each model whose production alias is in effect, for the documentation."""
        entries = [entry for _, entry in sorted(self._entries.items())]
        return [entry.aliases[PRODUCTION].servables[0] for entry in entries if PRODUCTION in entry.aliases]


def _loading(name: str, what: str) -> PenstockError:
    return PenstockError(
        503, "model-loading", f"{what}: {name!r} cannot answer yet; try again shortly.", headers={"Retry-After": "1"}
    )


def _not_loaded(name: str, state: LoadState, what: str) -> PenstockError:
    """Return the refusal for a version, with its state; ``what`` begins the sentence that it is being loaded."""
    if state.state == "failed":
        detail = f"Version {state.version} of {name!r} could not be loaded: {state.reason}"
        error = PenstockError(503, "model-unavailable", detail, headers={"Retry-After": "10"})
    else:
        error = _loading(name, f"{what} is still being loaded")
    error.extra = {"load": msgspec.to_builtins(state)}
    return error
