"""Two objects beside a model's log, which can always be made again from it.

``models/<name>/state.json``, a checkpoint, is the state as of some entry; it keeps a first
read short. ``index/<name>.head``, the number of the newest entry, shows other registries
that there is something to read, and a first reader that the log's end is missing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import msgspec
import structlog
from prometheus_client import Counter

from penstock_common.object_store.store import ObjectStore
from penstock_registry.model_state import ModelState

logger = structlog.get_logger()

UNWRITTEN = Counter(
    "penstock_registry_log_unwritten_total",
    "Checkpoints and heads that could not be written; the log is complete without them.",
)

CHECKPOINT_EVERY = 20  # entries


class LogShortcuts:
    """Checkpoint and head of one model."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store = store
        self._name = name
        self._checkpoint_key = f"models/{name}/state.json"
        self._head_key = f"index/{name}.head"
        self._checkpoint = 0  # revision of the newest checkpoint known
        #: The number of the newest entry, as far as the head says it; 0 without a head.
        self.head = 0

    async def read_checkpoint(self) -> ModelState | None:
        """The state in the checkpoint, or None if there is none.

        Raises:
            ValueError, msgspec.MsgspecError: if the checkpoint is not a state of this model.
        """
        data = await self._store.get(self._checkpoint_key)
        if data is None:
            return None
        state = msgspec.json.decode(data, type=ModelState)
        if state.model.name != self._name or state.revision < 1 or state.model.damage:
            raise ValueError(f"it is not a checkpoint of {self._name!r}")
        return state

    async def read_checkpoint_if_good(self) -> ModelState | None:
        """The state in the checkpoint, or None if there is none that can be read."""
        try:
            state = await self.read_checkpoint()
        except (msgspec.MsgspecError, ValueError) as err:
            logger.warning("a checkpoint cannot be read; the log is read instead", model=self._name, error=str(err))
            return None
        if state is not None:
            self._checkpoint = state.revision
        return state

    async def write_checkpoint(self, state: ModelState) -> None:
        """Write a checkpoint, if it is time for one; if that fails, a later call tries again."""
        if state.revision - self._checkpoint < CHECKPOINT_EVERY or state.model.damage:
            return
        with self._unwritten_is_logged("checkpoint"):
            await self._store.put(self._checkpoint_key, msgspec.json.encode(state))
            self._checkpoint = state.revision

    async def read_head(self) -> None:
        data = await self._store.get(self._head_key)
        if data is not None and re.fullmatch(rb"[0-9]{1,8}", data):
            self.head = max(self.head, int(data))

    async def write_head(self, revision: int) -> None:
        self.head = revision
        with self._unwritten_is_logged("head"):
            await self._store.put(self._head_key, str(revision).encode())

    @contextlib.contextmanager
    def _unwritten_is_logged(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as err:  # the stores raise errors of many types
            UNWRITTEN.inc()
            logger.warning(f"a {what} was not written", model=self._name, error=str(err))
