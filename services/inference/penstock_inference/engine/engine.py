"""The way of a message through one loaded version: check, queue, run, answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from penstock_common.manifest import FieldKind, Manifest, is_varying
from penstock_inference.engine.batch import split_inputs
from penstock_inference.engine.device import Device, Share
from penstock_inference.engine.input_checks import check_inputs
from penstock_inference.engine.message import CheckedInputs, Message, Outputs
from penstock_inference.engine.message_parts import joined
from penstock_inference.engine.padding import Padding
from penstock_inference.engine.queue import MessageQueue
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.engine.scheduler import BatchRunner, Scheduler
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.process_streams import Piece


class Engine:
    """Answers the messages of one version; all its methods are called on one event loop.

    It outlives the processes that run its model: ``run_on`` gives it one more, ``lose`` takes one away.

    Args:
        max_queue_rows: the rows that may wait.
        max_queue_bytes: the bytes of inputs that may wait.
        share: of the device that the processes run on; None for a device that no other version uses.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        max_queue_rows: int,
        max_queue_bytes: int,
        metrics: VersionMetrics,
        share: Share | None = None,
    ) -> None:
        self._manifest = manifest
        max_rows = manifest.batching.max_batch_size
        # Outputs of varying sizes are as large as the largest of a run, so those of two runs cannot be joined.
        self._splits = not any(is_varying(output.shape) for output in manifest.outputs)
        self._run_times = run_times = RunTimes(max_rows)
        share = share or Device(manifest.resources.instances).share()
        self._padding = Padding(manifest)
        images = [field.name for field in manifest.client_inputs if field.kind is FieldKind.IMAGE]
        self._queue: MessageQueue[Outputs] = MessageQueue(max_queue_rows, max_queue_bytes, run_times, metrics, images)
        self._scheduler = Scheduler(max_rows, self._padding, self._queue, run_times, share, metrics)

    def run_on(self, runner: BatchRunner) -> None:
        """Run what waits, and what comes, on a process that has just loaded the model."""
        self._scheduler.run_on(runner)

    def lose(self, runner: BatchRunner, reason: str) -> None:
        """Run nothing more on a process that has ended; if it was the last one, send what waits to another pod."""
        self._scheduler.lose(runner, reason)

    def submit(self, message: Message) -> asyncio.Future[Outputs]:
        """Queue a message; cancelling its answer withdraws it. That raises what the model raised, or one of these.

        504 ``deadline-exceeded``; if the model's process ended, 429 ``model-restarting``, or 500 ``model-crashed`` if
        it ended because of a message that had ended another pod's before.

        Raises:
            PenstockError: 422 ``invalid-input`` if the inputs do not fit the signature.
            PodRefusalError: 429 ``queue-full`` if the message could not be answered in time.
        """
        inputs, rows = check_inputs(self._manifest, message.inputs)
        most = self._run_times.run_rows.most if self._splits else rows
        parts = list(split_inputs(inputs, rows, most)) if rows > most else [inputs]
        answers = self._queue.put_parts(
            [(CheckedInputs(part, message.retried), min(most, rows - most * n)) for n, part in enumerate(parts)],
            message.deadline,
            message.principal,
            self._padding.kind(inputs),
        )
        for _ in answers:
            self._scheduler.wake()
        return answers[0] if len(answers) == 1 else joined(answers)

    async def stream(self, message: Message) -> AsyncGenerator[Piece, None]:
        """Yield the one answer to a message as a stream does. Raises what ``submit`` and its answer raise."""
        yield Piece(await self.submit(message), last=True)

    def refuse_waiting(self, reason: str) -> None:
        """Send every message that waits to another pod: no process will run it soon."""
        self._scheduler.refuse_waiting(reason)

    async def drain(self) -> None:
        """Wait until every message that was submitted is answered."""
        await self._scheduler.drain()
