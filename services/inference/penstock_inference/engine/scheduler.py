"""Natural batching in front of one model version's executor.

While the model runs, messages queue; when it is free, those that fit leave
together. There is no timer. Expired and cancelled messages never reach the
model. A combined batch that fails is run again message by message, so that
none shares another's fate; and no failure ends the worker.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_inference.engine.model import Arrays, LoadedModel
from penstock_inference.metrics import Gauges

Outputs = list[NDArray[Any]]

#: A run this short happens on the event loop, which it holds up less than a thread that contends for the interpreter.
_SHORT_SECONDS = 0.001


class _Message:
    __slots__ = ("arrived", "deadline", "future", "inputs", "rows")

    def __init__(self, inputs: Arrays, rows: int, deadline: float, future: asyncio.Future[Outputs]) -> None:
        self.inputs = inputs
        self.rows = rows
        self.deadline = deadline
        self.future = future
        self.arrived = time.monotonic()


class Batcher:
    """Feeds one model version.

    Args:
        model: runs batches; called in ``executor``, one batch at a time.
        executor: a thread for all but the shortest runs; PyTorch lets go of the interpreter's lock while it computes.
        max_queue_rows: rows that may wait.
    """

    def __init__(self, model: LoadedModel, executor: Executor, *, max_queue_rows: int, gauges: Gauges) -> None:
        self._model = model
        self._executor = executor
        self._max_rows = model.manifest.batching.max_batch_size
        self._max_queue_rows = max_queue_rows
        self._gauges = gauges
        self._queue: deque[_Message] = deque()
        self._queued_rows = 0
        self._worker: asyncio.Task[None] | None = None
        self._seconds_per_row = 0.0
        self._last_seconds = 0.0

    def submit(self, inputs: Arrays, rows: int, deadline: float) -> asyncio.Future[Outputs]:
        """Queue a message whose inputs were checked.

        Raises:
            PenstockError: 429 ``queue-full`` where it could not be answered in time.
        """
        wait = self._queued_rows * self._seconds_per_row
        if self._queued_rows + rows > self._max_queue_rows and self._queue:
            raise _full(f"{self._queued_rows} rows wait and {self._max_queue_rows} may")
        if wait and time.monotonic() + wait > deadline:
            raise _full(f"{self._queued_rows} rows wait, about {wait:.2f} s of work, longer than this request has")
        message = _Message(inputs, rows, deadline, asyncio.get_running_loop().create_future())
        self._queue.append(message)
        self._queued_rows += rows
        self._gauges.queue_rows.set(self._queued_rows)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return message.future

    async def drain(self) -> None:
        """Wait until all that was submitted is answered."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._run(batch)
        finally:
            self._worker = None
            self._gauges.queue_rows.set(self._queued_rows)

    def _take(self) -> list[_Message]:
        """Live messages from the front, as many rows as the model takes; a larger message goes alone."""
        now = time.monotonic()
        batch: list[_Message] = []
        rows = 0
        while self._queue:
            message = self._queue[0]
            if message.future.done():  # cancelled
                self._pop()
            elif message.deadline <= now:
                self._pop()
                message.future.set_exception(
                    PenstockError(504, "deadline-exceeded", "The request's time was up before the model could run.")
                )
            elif batch and rows + message.rows > self._max_rows:
                break
            else:
                self._pop()
                self._gauges.queue_seconds.observe(now - message.arrived)
                batch.append(message)
                rows += message.rows
        return batch

    def _pop(self) -> None:
        self._queued_rows -= self._queue.popleft().rows

    async def _run(self, batch: list[_Message]) -> None:
        started = time.monotonic()
        rows = sum([m.rows for m in batch])
        inputs = [m.inputs for m in batch]
        try:
            if self._is_short(rows):
                outputs = self._execute(inputs, rows)
            else:
                loop = asyncio.get_running_loop()
                outputs = await loop.run_in_executor(self._executor, self._execute, inputs, rows)
        except Exception as err:
            if len(batch) == 1:
                if not batch[0].future.done():
                    batch[0].future.set_exception(err)
            else:
                for message in batch:
                    if not message.future.done():
                        await self._run([message])
            return
        elapsed = time.monotonic() - started
        # A moving average: what the queue costs, for refusing early what it cannot finish.
        self._seconds_per_row += 0.2 * (elapsed / rows - self._seconds_per_row)
        self._last_seconds = elapsed
        self._gauges.batch_rows.observe(rows)
        at = 0
        for message in batch:
            if not message.future.done():
                message.future.set_result([output[at : at + message.rows] for output in outputs])
            at += message.rows

    def _is_short(self, rows: int) -> bool:
        """Whether a run will be short: the last one was, and so many rows should be; the first never counts as such."""
        return 0.0 < max(self._last_seconds, rows * self._seconds_per_row) < _SHORT_SECONDS

    def _execute(self, messages: list[Arrays], rows: int) -> Outputs:
        started = time.perf_counter()
        try:
            inputs = messages[0]
            if len(messages) > 1:
                inputs = {name: np.concatenate([m[name] for m in messages]) for name in inputs}
            if rows <= self._max_rows:
                return self._model.run(inputs)
            parts = []
            for at in range(0, rows, self._max_rows):
                parts.append(self._model.run({name: a[at : at + self._max_rows] for name, a in inputs.items()}))
            return [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        finally:
            seconds = time.perf_counter() - started
            self._gauges.execute_seconds.observe(seconds)
            self._gauges.busy.add(started, seconds)


def _full(what: str) -> PenstockError:
    return PenstockError(429, "queue-full", f"{what}; try again shortly.")
