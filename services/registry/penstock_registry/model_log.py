"""A model's log: small create-only objects, ``models/<name>/log/<n>.json``.

Entry n+1 is created only if it does not exist: the one atomic step, which local
folders, S3, GCS and Azure Blob all have. The writer that loses this race reads the
winner's entry, checks its own intention against the new state, and tries the next
number; so nothing is lost and no database is needed.

An entry that is missing or cannot be read is set aside: the state goes on without it,
and the log takes no entry but a repair or a deletion, which would build on the loss.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import msgspec
import structlog
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_common.object_store.store import ObjectStore
from penstock_common.registry_models import LogEntry
from penstock_registry.log_encoding import decode_entry, encode_entry
from penstock_registry.log_shortcuts import LogShortcuts
from penstock_registry.model_state import ModelState, UnusableEntryError, apply_entry, empty_state, set_aside

logger = structlog.get_logger()

APPENDS = Counter("penstock_registry_log_appends_total", "Log entries written.", ["kind"])
RACES_LOST = Counter(
    "penstock_registry_log_races_lost_total", "Appends that lost the race for their number and tried again."
)

_MAX_TRIES = 100
_READS_AT_ONCE = 16
_ENTRY = re.compile(r"/(\d{8})\.json\Z", re.ASCII)
#: What a log takes while it is damaged.
_REPAIRS = ("repaired", "deleted")

#: Makes the entry that a writer wants from the newest state; raises PenstockError if that state forbids it.
Intention = Callable[[ModelState], LogEntry]


class ModelLog:
    """The log of one model, and its state as far as this process has read it.

    Args:
        max_entry_bytes: larger entries are refused.
        on_change: called after ``state`` has changed.
    """

    def __init__(self, store: ObjectStore, name: str, *, max_entry_bytes: int, on_change: Callable[[], None]) -> None:
        self._store = store
        self.name = name
        self._max_entry_bytes = max_entry_bytes
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self.state = empty_state(name)
        #: The newest state without damage. Reads start from it, so that an entry that is put back is found.
        self._sound: ModelState | None = None
        self.shortcuts = LogShortcuts(store, name)

    async def refresh(self) -> ModelState:
        """The newest state; one with revision 0 if the log has no entries.

        Raises:
            obstore.exceptions.BaseError, OSError: if the store cannot be read.
        """
        async with self._lock:
            return await self._refresh()

    async def append(self, intention: Intention) -> ModelState:
        """Append what ``intention`` makes of the newest state, and repeat that if another writer was first.

        Raises:
            PenstockError: the intention's own; 409 ``model-damaged``; 413 ``entry-too-large``;
                422 ``bad-request`` for what JSON cannot hold; 503 ``contention`` after ``_MAX_TRIES`` lost races.
        """
        async with self._lock:
            for _ in range(_MAX_TRIES):
                await self.shortcuts.read_head()
                state = await self._refresh()
                entry = intention(state)
                self._refuse_if_damaged(state, entry)
                entry.entry, entry.at, entry.id = state.revision + 1, now(), uuid.uuid4().hex
                data = encode_entry(entry, self._max_entry_bytes)
                after = apply_entry(state, entry)
                if not await self._create(entry, data):
                    RACES_LOST.inc()
                    continue
                APPENDS.labels(entry.kind).inc()
                self._take_over(after)
                await self.shortcuts.write_head(after.revision)
                await self.shortcuts.write_checkpoint(after)
                return after
        raise PenstockError(503, "contention", f"Too many writers change model {self.name!r} at once; try again.")

    async def entries(self) -> list[LogEntry]:
        """All entries that can be read, oldest first: the audit trail."""
        read = await self._read_entries(await self.numbers())
        return [entry for entry in read if isinstance(entry, LogEntry)]

    async def replay(self, start: ModelState | None = None) -> ModelState:
        """The state that the log amounts to: from its first entry on, or those after ``start``."""
        return await self._read_after(start or empty_state(self.name))

    async def numbers(self, after: int = 0) -> list[int]:
        """The numbers of the entries in the store that come after ``after``, in order."""
        listing = await self._store.list_objects(f"models/{self.name}/log", _entry_key(self.name, after))
        return [int(match[1]) for info in listing if (match := _ENTRY.search(info.key))]

    async def _read_entries(self, numbers: Iterable[int]) -> list[LogEntry | str | None]:
        """For each number the entry, or what is wrong with it, or None if it is missing."""
        slots = asyncio.Semaphore(_READS_AT_ONCE)

        async def read(number: int) -> LogEntry | str | None:
            async with slots:
                data = await self._store.get(_entry_key(self.name, number))
            return None if data is None else decode_entry(data, number)

        return list(await asyncio.gather(*[read(number) for number in numbers]))

    async def _refresh(self) -> ModelState:
        first = self._sound is None
        if self._sound is None:
            await self.shortcuts.read_head()
            self._sound = await self.shortcuts.read_checkpoint_if_good() or empty_state(self.name)
        self._take_over(await self._read_after(self._sound))
        if first:
            await self.shortcuts.write_checkpoint(self.state)
        return self.state

    async def _read_after(self, state: ModelState) -> ModelState:
        """The state after all entries that follow ``state``."""
        numbers = await self.numbers(state.revision)
        if numbers and len(numbers) < numbers[-1] - state.revision:
            # A listing may miss an entry that is written during it; a second one does not.
            numbers = await self.numbers(state.revision)
        for first, last in _runs(numbers):
            if first > state.revision + 1:
                state = set_aside(state, state.revision + 1, first - 1, _missing(state.revision + 1, first - 1))
            for number, read in enumerate(await self._read_entries(range(first, last + 1)), first):
                state = _after(state, number, read)
        head = self.shortcuts.head
        if head > state.revision:
            state = set_aside(state, state.revision + 1, head, _missing(state.revision + 1, head))
        return state

    def _refuse_if_damaged(self, state: ModelState, entry: LogEntry) -> None:
        if state.model.damage and entry.kind not in _REPAIRS:
            first = state.model.damage[0]
            raise PenstockError(
                409,
                "model-damaged",
                f"Entry {first.entry} of the log of {self.name!r} is lost ({first.reason}). Put the file back from a "
                f"backup, or give it up: penstock registry repair {self.name}.",
                extra={"damage": msgspec.to_builtins(state.model.damage)},
            )

    async def _create(self, entry: LogEntry, data: bytes) -> bool:
        """Write an entry; False if its number is another writer's.

        An answer of the store that was lost on its way reads as an error, or as a lost race
        after a repetition. So the entry that is there decides whether this one was written.
        """
        key = _entry_key(self.name, entry.entry)
        try:
            return await self._store.create(key, data) or await self._store.get(key) == data
        except Exception:
            if await self._store.get(key) == data:
                return True
            raise

    def _take_over(self, state: ModelState) -> None:
        if state.model.damage:
            if state.model.damage != self.state.model.damage:
                logger.error("a log is damaged", model=self.name, damage=msgspec.to_builtins(state.model.damage))
        else:
            self._sound = state
        if state != self.state:
            self.state = state
            self._on_change()


def _after(state: ModelState, number: int, read: LogEntry | str | None) -> ModelState:
    if isinstance(read, LogEntry):
        try:
            return apply_entry(state, read)
        except UnusableEntryError as err:
            read = str(err)
    return set_aside(state, number, number, read or _missing(number, number))


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Neighbouring numbers as pairs of the first and the last."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _missing(first: int, last: int) -> str:
    return "it is missing" if first == last else f"entries {first} to {last} are missing"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _entry_key(name: str, number: int) -> str:
    return f"models/{name}/log/{number:08d}.json"
