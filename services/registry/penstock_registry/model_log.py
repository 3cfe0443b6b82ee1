"""A model's log: small create-only objects, ``models/<name>/log/<n>.json``.

Entry n+1 is created only if it does not exist: the one atomic step, which local
folders, S3, GCS and Azure Blob all have. The writer that loses this race reads the
winner's entry, checks its own intention against the new state, and tries the next
number; so nothing is lost and no database is needed. Every ``CHECKPOINT_EVERY``
entries the state is written beside the log, which keeps a first read short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_common.registry_models import LogEntry, Model

APPENDS = Counter("penstock_registry_log_appends_total", "Log entries written.", ["kind"])
RACES_LOST = Counter(
    "penstock_registry_log_races_lost_total", "Appends that lost the race for their number and tried again."
)

CHECKPOINT_EVERY = 20
_MAX_TRIES = 100

#: Makes the entry that a writer wants from the newest state; raises PenstockError if that state forbids it.
Intention = Callable[[Model], LogEntry]


def apply_entry(model: Model, entry: LogEntry) -> Model:
    """The state after one more entry; ``model`` itself is not changed."""
    versions, aliases = dict(model.versions), dict(model.aliases)
    if entry.kind == "registered":
        assert entry.version is not None
        versions[entry.version.version] = entry.version
    elif entry.kind == "alias-set":
        aliases[entry.alias] = entry.targets
    elif entry.kind == "alias-deleted":
        aliases.pop(entry.alias, None)
    elif entry.kind == "retired":
        versions[entry.retired] = msgspec.structs.replace(versions[entry.retired], retired=True)
    return Model(model.name, entry.entry, versions, aliases)


class ModelLogs:
    """The logs of all models in one store, and the models' states as far as this process has read them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._states: dict[str, Model] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @property
    def states(self) -> dict[str, Model]:
        return self._states

    async def refresh_all(self) -> None:
        """Read what other processes have written.

        Raises:
            obstore.exceptions.BaseError: if the store cannot be reached.
        """
        listing = await obstore.list_with_delimiter_async(self._store, "models")
        names = [prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in listing["common_prefixes"]]
        await asyncio.gather(*[self.refresh(name) for name in names])

    async def refresh(self, name: str) -> Model:
        """The newest state of a model; an empty one, with revision 0, if its log has no entries."""
        async with self._locks.setdefault(name, asyncio.Lock()):
            return await self._refresh(name)

    async def _refresh(self, name: str) -> Model:
        model = self._states.get(name)
        if model is None:
            model = await self._read_checkpoint(name) or Model(name, 0, {}, {})
        while (entry := await self._read_entry(name, model.revision + 1)) is not None:
            model = apply_entry(model, entry)
        if model.revision:
            self._states[name] = model
        return model

    async def append(self, name: str, intention: Intention) -> Model:
        """Append what ``intention`` makes of the newest state, and repeat that if another writer was first.

        Raises:
            PenstockError: the intention's own; 503 ``contention`` after ``_MAX_TRIES`` lost races.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            for _ in range(_MAX_TRIES):
                model = await self._refresh(name)
                entry = intention(model)
                entry.entry = model.revision + 1
                entry.at = now()
                try:
                    await obstore.put_async(
                        self._store, _entry_key(name, entry.entry), msgspec.json.encode(entry), mode="create"
                    )
                except AlreadyExistsError:
                    RACES_LOST.inc()
                    continue
                APPENDS.labels(entry.kind).inc()
                self._states[name] = model = apply_entry(model, entry)
                if model.revision % CHECKPOINT_EVERY == 0:
                    await obstore.put_async(self._store, _checkpoint_key(name), msgspec.json.encode(model))
                return model
        raise PenstockError(503, "contention", f"Too many writers change model {name!r} at once; try again.")

    async def entries(self, name: str) -> list[LogEntry]:
        """The whole log, oldest first: the audit trail."""
        model = await self.refresh(name)
        read = [self._read_entry(name, n) for n in range(1, model.revision + 1)]
        return [entry for entry in await asyncio.gather(*read) if entry is not None]

    async def _read_entry(self, name: str, number: int) -> LogEntry | None:
        try:
            result = await obstore.get_async(self._store, _entry_key(name, number))
        except FileNotFoundError:
            return None
        return msgspec.json.decode(await result.bytes_async(), type=LogEntry)

    async def _read_checkpoint(self, name: str) -> Model | None:
        try:
            result = await obstore.get_async(self._store, _checkpoint_key(name))
        except FileNotFoundError:
            return None
        return msgspec.json.decode(await result.bytes_async(), type=Model)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entry_key(name: str, number: int) -> str:
    return f"models/{name}/log/{number:08d}.json"


def _checkpoint_key(name: str) -> str:
    return f"models/{name}/checkpoint.json"
