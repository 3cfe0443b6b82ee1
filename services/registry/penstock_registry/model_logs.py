"""The logs of all models in one store, and how changes by other registries are noticed.

An idle registry asks the store for one listing of ``index/``, where each model has a small
object that every append replaces, and for the log of one model in turn. The latter finds an
entry whose writer died before it could replace that object.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable

import structlog
from prometheus_client import Gauge

from penstock_common.manifest import is_name
from penstock_common.object_store.store import ObjectStore
from penstock_common.registry_models import LogEntry
from penstock_registry.model_log import Intention, ModelLog
from penstock_registry.model_state import ModelState, empty_state

logger = structlog.get_logger()

DAMAGED = Gauge(
    "penstock_registry_damaged_models", "Models whose log has lost entries and takes no more until repaired."
)
LOST = Gauge("penstock_registry_lost_log_entries", "Log entries, or runs of them, that are missing or cannot be read.")
UNREADABLE = Gauge("penstock_registry_unreadable_models", "Models that the store fails to give; others are served.")

_IDENTITY = "index/store-id"
_READS_AT_ONCE = 8  # models
_FIRST_TRIES = 5  # failures of one model, after which a starting registry goes on without it


class StoreIdentityLostError(Exception):
    """The store has no identity any more: an unmounted volume, or an emptied bucket."""


class ModelLogs:
    """All models of a store, and their states as far as this process has read them.

    Args:
        max_entry_bytes: larger log entries are refused.
    """

    def __init__(self, store: ObjectStore, *, max_entry_bytes: int = 2 * 1024 * 1024) -> None:
        self._store = store
        self._max_entry_bytes = max_entry_bytes
        #: Called after any state has changed.
        self.on_change: Callable[[], None] = lambda: None
        self._logs: dict[str, ModelLog] = {}
        self._stamps: dict[str, str] = {}  # of the objects in index/
        self._turns: deque[str] = deque()
        self._failures: dict[str, int] = {}  # in a row, of models that the store failed to give
        self.store_id = ""
        #: All models have been read once, or have failed too often to wait for them.
        self.complete = False

    @property
    def states(self) -> list[ModelState]:
        """The models that exist, by name."""
        return [log.state for _, log in sorted(self._logs.items()) if log.state.exists]

    @property
    def failing(self) -> list[str]:
        """The models that the store fails to give; their last good states, if any, are among ``states``."""
        return sorted(self._failures)

    def named_blobs(self) -> set[str]:
        """The digests of all files of all versions that any log names."""
        named: set[str] = set()
        for log in self._logs.values():
            named |= log.state.removed_blobs
            named.update(f.sha256 for version in log.state.model.versions.values() for f in version.files)
        return named

    def log(self, name: str) -> ModelLog:
        if name not in self._logs:
            self._logs[name] = ModelLog(
                self._store, name, max_entry_bytes=self._max_entry_bytes, on_change=lambda: self.on_change()
            )
        return self._logs[name]

    async def refresh(self, name: str) -> ModelState:
        """The newest state of a model; one with revision 0 if its log has no entries."""
        log = self._logs.get(name)
        if log is None and not await self._store.list_objects(f"models/{name}/log"):
            return empty_state(name)  # not kept: callers may ask for any name
        return await self.log(name).refresh()

    async def append(self, name: str, intention: Intention) -> ModelState:
        return await self.log(name).append(intention)

    async def entries(self, name: str) -> list[LogEntry]:
        return await self.log(name).entries()

    async def poll(self) -> None:
        """Read what other processes have written.

        Raises:
            obstore.exceptions.BaseError, OSError, StoreIdentityLostError: if the store cannot be read.
        """
        stamps = {info.key: info.stamp for info in await self._store.list_objects("index")}
        await self._check_identity(stamps)
        changed = {_model_of(key) for key, stamp in stamps.items() if stamp != self._stamps.get(key)} - {""}
        if not self._turns:
            self._turns.extend(await self._store.list_folders("models"))
        if self.complete:
            names = changed | self._failures.keys() | ({self._turns.popleft()} if self._turns else set())
        else:
            names = changed | set(self._turns)
            self._turns.clear()
        failed = await self._refresh_all(names)
        self._stamps = {key: stamp for key, stamp in stamps.items() if _model_of(key) not in failed}
        if not self.complete and self._first_read_is_over():
            self.complete = True
            self.on_change()
        self._report()

    async def refresh_all(self) -> None:
        """Read every log anew for what it holds beyond the known state."""
        await self._refresh_all(set(await self._store.list_folders("models")) | self._logs.keys())

    async def _refresh_all(self, names: set[str]) -> set[str]:
        """Refresh models, and return those that the store failed to give."""
        names = {name for name in names if is_name(name)}
        slots = asyncio.Semaphore(_READS_AT_ONCE)
        errors: dict[str, Exception] = {}

        async def refresh(name: str) -> None:
            async with slots:
                try:
                    await self.log(name).refresh()
                except Exception as err:  # the stores raise errors of many types
                    errors[name] = err

        await asyncio.gather(*[refresh(name) for name in sorted(names)])
        for name in names - errors.keys():
            self._failures.pop(name, None)
        for name, err in errors.items():
            if name not in self._failures:
                logger.error("a model cannot be read from the store", model=name, error=str(err))
            self._failures[name] = self._failures.get(name, 0) + 1
        return set(errors)

    async def _check_identity(self, stamps: dict[str, str]) -> None:
        """Notice that the store was rebuilt: its identity is created once and never changes."""
        if self.store_id and _IDENTITY not in stamps:
            raise StoreIdentityLostError(
                f"{_IDENTITY} is gone; if the store was emptied on purpose, restart the registry"
            )
        if self.store_id and stamps[_IDENTITY] == self._stamps.get(_IDENTITY):
            return
        if not self.store_id and _IDENTITY not in stamps:
            await self._store.create(_IDENTITY, uuid.uuid4().hex.encode())
        identity = (await self._store.get(_IDENTITY) or b"").decode("ascii", "replace")
        if self.store_id and identity != self.store_id:
            logger.warning("the store was rebuilt", before=self.store_id, now=identity)
            self._logs, self._stamps, self._failures, self.complete = {}, {}, {}, False
            self._turns.clear()
        self.store_id = identity

    def _first_read_is_over(self) -> bool:
        if self._failures and len(self._failures) == len(self._logs):
            return False  # it is the store that fails, not some models
        return all(tries >= _FIRST_TRIES for tries in self._failures.values())

    def _report(self) -> None:
        damaged = [state.model.damage for state in self.states if state.model.damage]
        DAMAGED.set(len(damaged))
        LOST.set(sum(map(len, damaged)))
        UNREADABLE.set(len(self._failures))


def _model_of(key: str) -> str:
    """The model of a head's key; empty for another object."""
    return key.removeprefix("index/").removesuffix(".head") if key.endswith(".head") else ""
