"""The way of a message through one loaded version: check, queue, run, answer."""

from __future__ import annotations

from concurrent.futures import Executor

from penstock_inference.engine.input_checks import check_inputs
from penstock_inference.engine.message import Answer, Message
from penstock_inference.engine.model import LoadedModel
from penstock_inference.engine.queue import MessageQueue
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.engine.scheduler import Scheduler
from penstock_inference.metrics import VersionMetrics


class Engine:
    """Answers the messages of one version; all its methods are called on one event loop.

    Args:
        executor: the one thread for the model's runs.
        max_queue_rows: the rows that may wait.
        max_queue_bytes: the bytes of inputs that may wait.
    """

    def __init__(
        self,
        model: LoadedModel,
        executor: Executor,
        *,
        max_queue_rows: int,
        max_queue_bytes: int,
        metrics: VersionMetrics,
    ) -> None:
        self._manifest = model.manifest
        run_times = RunTimes(model.manifest.batching.max_batch_size)
        self._queue = MessageQueue(max_queue_rows, max_queue_bytes, run_times, metrics)
        self._scheduler = Scheduler(model, executor, self._queue, run_times, metrics)

    def submit(self, message: Message) -> Answer:
        """Queue a message; its answer raises what the model raised for it, or 504 ``deadline-exceeded``.

        Raises:
            PenstockError: 422 ``invalid-input`` if the inputs do not fit the signature.
            PodRefusalError: 429 ``queue-full`` if the message could not be answered in time.
        """
        inputs, rows = check_inputs(self._manifest, message.inputs)
        outputs = self._queue.put(inputs, rows, message.deadline, message.principal)
        self._scheduler.wake()
        return Answer(outputs)

    async def drain(self) -> None:
        """Wait until every message that was submitted is answered."""
        await self._scheduler.drain()
