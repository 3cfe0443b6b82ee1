"""Decides when the messages of one model run, and where.

This is natural batching: while the model runs, messages queue; when it is free,
those that fit leave together. There is no timer. A batch that fails is run again in
two halves, and so on until a message runs alone, so that a message never fails because
of its neighbour; and no failure ends the worker.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor

from penstock_inference.engine.batch import merge_inputs, merge_outputs, split_inputs, split_outputs
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.engine.model import LoadedModel
from penstock_inference.engine.queue import MessageQueue, QueuedMessage
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import VersionMetrics


class Scheduler:
    """Runs what waits in ``queue``, one batch at a time.

    Args:
        executor: one thread, for all but the shortest runs. The frameworks release the interpreter's lock while
            they compute. A run shorter than a millisecond happens on the event loop, because a thread that
            contends for that lock would delay the loop by more.
        run_times: the scheduler records each run there.
    """

    def __init__(
        self,
        model: LoadedModel,
        executor: Executor,
        queue: MessageQueue,
        run_times: RunTimes,
        metrics: VersionMetrics,
    ) -> None:
        self._model = model
        self._executor = executor
        self._queue = queue
        self._run_times = run_times
        self._metrics = metrics
        self._max_rows = model.manifest.batching.max_batch_size
        self._worker: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Run what waits, unless the worker is already at it."""
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())

    async def drain(self) -> None:
        """Wait until no message waits or runs."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        try:
            while messages := self._queue.take(self._max_rows):
                await self._run(messages)
        finally:
            self._worker = None

    async def _run(self, messages: list[QueuedMessage]) -> None:
        """Run messages as one batch and answer each; an exception is the answer of a message that ran alone."""
        started = time.monotonic()
        rows = [message.rows for message in messages]
        total = sum(rows)
        inputs = [message.item for message in messages]
        try:
            if self._run_times.is_short(total):
                outputs = self._execute(inputs, total)
            else:
                loop = asyncio.get_running_loop()
                outputs = await loop.run_in_executor(self._executor, self._execute, inputs, total)
        except Exception as err:
            if len(messages) == 1:
                if not messages[0].future.done():
                    # Without this frame in its traceback, which holds the message that would hold the exception.
                    messages[0].future.set_exception(
                        err.with_traceback(err.__traceback__ and err.__traceback__.tb_next)
                    )
                return
        else:
            self._run_times.add(total, time.monotonic() - started)
            self._metrics.batch_rows.observe(total)
            for message, own in zip(messages, split_outputs(outputs, rows), strict=True):
                if not message.future.done():
                    message.future.set_result(own)
            return
        await self._run_halves(messages)

    async def _run_halves(self, messages: list[QueuedMessage]) -> None:
        """Run the messages of a batch that failed again, without those that nobody waits for any more."""
        now = time.monotonic()
        alive = [message for message in messages if message.alive(now)]
        middle = (len(alive) + 1) // 2
        for half in (alive[:middle], alive[middle:]):
            if half:
                await self._run(half)

    def _execute(self, messages: list[Arrays], rows: int) -> Outputs:
        """Call the model with the rows of all messages, in parts if one message has more than the model takes."""
        started = time.perf_counter()
        try:
            inputs = merge_inputs(messages)
            if rows <= self._max_rows:
                return self._model.run(inputs)
            return merge_outputs([self._model.run(part) for part in split_inputs(inputs, rows, self._max_rows)])
        finally:
            seconds = time.perf_counter() - started
            self._metrics.execute_seconds.observe(seconds)
            self._metrics.busy.add(started, seconds)
