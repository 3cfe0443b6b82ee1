"""Decides when the messages of one model run, and which of them together.

This is natural batching: while the model runs, or waits for its turn on the device, messages
queue; then those that fit leave together. There is no timer. How many rows a batch has follows
from how long its runs take; see ``run_rows``. A batch that fails is run again in
two halves, and so on until a message runs alone, so that a message never fails because
of its neighbour; and no failure ends the worker.

If the model's process ends during a batch, its messages go to another pod. One that comes
from another pod already may be the cause, or only its neighbour: it waits for the next
process and runs there alone. If it ends that one too, it is answered with an error, so
that a message that kills processes kills a few and not all. What waits goes to another pod
only if no other instance of the model is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from penstock_common.errors import PenstockError
from penstock_inference.engine.batch import merge_outputs, split_inputs, split_outputs
from penstock_inference.engine.device import Share, Turn
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.engine.padding import Padding
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.engine.queue import MessageQueue, QueuedMessage
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.process import ProcessEndedError


class BatchRunner(Protocol):
    """What runs a model's batches, one at a time."""

    async def run(self, batch: Sequence[Arrays], rows: int) -> Outputs:
        """Run the rows of several messages as one batch. Raises ``ProcessEndedError`` if it can run no more."""
        ...


class Scheduler:
    """Runs what waits in ``queue``: on each of its runners, one batch at a time.

    Args:
        max_rows: the rows that the model takes at a time.
        padding: brings the messages of a batch to one size.
        run_times: the scheduler records each run there.
        share: of the device that the runners run on.
    """

    def __init__(
        self,
        max_rows: int,
        padding: Padding,
        queue: MessageQueue[Outputs],
        run_times: RunTimes,
        share: Share,
        metrics: VersionMetrics,
    ) -> None:
        self._max_rows = max_rows
        self._padding = padding
        self._queue = queue
        self._run_times = run_times
        self._share = share
        self._metrics = metrics
        self._runners: dict[BatchRunner, Turn] = {}  # each with its turns on the device
        self._idle: list[BatchRunner] = []
        self._again: list[list[QueuedMessage]] = []  # batches that run again before others leave, the next one last
        self._workers: dict[BatchRunner, asyncio.Task[None]] = {}

    def run_on(self, runner: BatchRunner) -> None:
        """Use one more runner."""
        self._runners[runner] = Turn(self._share, self._metrics)
        self._idle.append(runner)
        self._run_times.parallel = len(self._runners)
        self.wake()

    def lose(self, runner: BatchRunner, reason: str) -> None:
        """Use a runner no more, because its process has ended. If it was the last one, refuse what waits."""
        self._runners.pop(runner, None)
        if runner in self._idle:
            self._idle.remove(runner)
        self._run_times.parallel = max(1, len(self._runners))
        if not self._runners:
            self._blame([], reason)

    def wake(self) -> None:
        """Run what waits, unless all runners are already at it."""
        if self._idle:
            runner = self._idle.pop()
            self._workers[runner] = asyncio.create_task(self._work(runner, self._runners[runner]))

    def refuse_waiting(self, reason: str) -> None:
        """Send all messages that wait to another pod."""
        for message in self._take_waiting():
            _refuse(message, reason)

    async def drain(self) -> None:
        """Wait until no message waits or runs. What waits without a runner is refused."""
        while self._workers:
            await asyncio.wait(self._workers.values())
        self.refuse_waiting("The model leaves this pod")

    async def _work(self, runner: BatchRunner, turn: Turn) -> None:
        """Run batches until none waits."""
        try:
            while runner in self._runners and (self._again or self._queue):
                if not turn.begins():
                    await turn.wait()
                if runner in self._runners and (messages := self._next()):
                    await self._run(runner, messages, turn)
                turn.end()
        finally:
            turn.close()
            del self._workers[runner]
            if runner in self._runners:
                self._idle.append(runner)

    def _next(self) -> list[QueuedMessage]:
        """Return the next batch, without messages that nobody waits for any more."""
        while self._again:
            now = time.monotonic()
            if alive := [message for message in self._again.pop() if message.alive(now)]:
                return alive
        return self._queue.take(self._run_times.run_rows.next())

    async def _run(self, runner: BatchRunner, messages: list[QueuedMessage], turn: Turn) -> None:
        """Run messages as one batch and answer each; an exception is the answer of a message that ran alone."""
        asked = turn.asked
        rows = [message.rows for message in messages]
        total = sum(rows)
        try:
            outputs = await self._execute(runner, [message.item.arrays for message in messages], total, turn)
        except ProcessEndedError as err:
            self.lose(runner, str(err))
            self._blame(messages, str(err))
        except Exception as err:
            if len(messages) == 1:
                if not messages[0].future.done():
                    # Without this frame in its traceback, which holds the message that would hold the exception.
                    messages[0].future.set_exception(
                        err.with_traceback(err.__traceback__ and err.__traceback__.tb_next)
                    )
                return
            middle = (len(messages) + 1) // 2
            self._again += [messages[middle:], messages[:middle]]
        else:
            self._run_times.add(total, self._share.device.clock() - asked)
            self._metrics.batch_rows.observe(total)
            for message, own in zip(messages, split_outputs(outputs, rows), strict=True):
                if not message.future.done():
                    message.future.set_result(self._padding.cut(own, message.item.arrays))

    async def _execute(self, runner: BatchRunner, batch: Sequence[Arrays], rows: int, turn: Turn) -> Outputs:
        """Run the rows of all messages, in parts if one message has more than the model takes."""
        batch = self._padding.pad(batch)
        if rows <= self._max_rows:
            return await self._run_timed(runner, batch, rows)
        outputs: list[Outputs] = []
        for part in split_inputs(batch[0], rows, self._max_rows):
            if outputs:  # other versions may run between two parts
                turn.end()
                if not turn.begins():
                    await turn.wait()
            outputs.append(await self._run_timed(runner, [part], len(next(iter(part.values())))))
        return merge_outputs(outputs)

    async def _run_timed(self, runner: BatchRunner, batch: Sequence[Arrays], rows: int) -> Outputs:
        """Run a batch and measure it."""
        started = time.perf_counter()
        try:
            outputs = await runner.run(batch, rows)
            self._run_times.run_rows.add(rows, time.perf_counter() - started)
            return outputs
        finally:
            seconds = time.perf_counter() - started
            self._metrics.execute_seconds.observe(seconds)
            self._metrics.busy.add(started, seconds)

    def _blame(self, messages: list[QueuedMessage], reason: str) -> None:
        """Answer the messages with which a process ended, or keep them for another process; with no other runner left,
        those that wait too."""
        kept = []
        for message in [*messages, *([] if self._runners else self._take_waiting())]:
            if not message.item.retried:
                _refuse(message, reason)
            elif messages == [message]:
                _answer_crashed(message, reason)
            else:
                kept.append([message])
        self._again += kept[::-1]
        if kept:
            self.wake()

    def _take_waiting(self) -> list[QueuedMessage]:
        waiting = [message for batch in reversed(self._again) for message in batch]
        self._again = []
        while taken := self._queue.take(self._max_rows):
            waiting += taken
        return waiting


def _refuse(message: QueuedMessage, reason: str) -> None:
    if not message.future.done():
        detail = f"{reason}; another pod may answer, and this one will again shortly."
        message.future.set_exception(PodRefusalError(429, "model-restarting", detail))


def _answer_crashed(message: QueuedMessage, reason: str) -> None:
    if not message.future.done():
        detail = f"On two pods the model's process ended with this request: {reason}. Do not send it again."
        message.future.set_exception(PenstockError(500, "model-crashed", detail))
