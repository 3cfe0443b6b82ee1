"""The messages that wait for one model: which are admitted, and which leave together.

A message is refused at once if it could not be answered before its deadline. One
whose deadline passes, or whose caller goes away, while it waits never leaves for the model.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Collection, Hashable, Sequence
from typing import Generic, TypeVar

from penstock_common.fair_queue import FairQueue, Waiting
from penstock_common.image_weight import image_weight
from penstock_inference.engine.message import Arrays, CheckedInputs, Outputs
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import VersionMetrics

#: A message whose inputs were checked; its times are in seconds of ``time.monotonic()``.
QueuedMessage = Waiting[CheckedInputs, Outputs]
#: What a message waits for: its outputs, or a place among the open streams.
R = TypeVar("R")

#: The images of one run weigh no more than this (50 million pixels), unless those of a single message do: others wait
#: while a run decodes them.
_MOST_IMAGE_BYTES = 8 * 1024 * 1024


class MessageQueue(Generic[R]):
    """First come, first served among the messages of one principal; principals take turns.

    Args:
        max_rows: the rows that may wait; a message of more is still admitted if it finds the queue empty.
        max_bytes: the bytes of inputs that may wait; a message of more is still admitted if it finds the queue empty.
        run_times: estimates what the rows that wait will cost.
        images: the inputs that are images, whose bytes are those of ``image_weight``.
    """

    def __init__(
        self,
        max_rows: int,
        max_bytes: int,
        run_times: RunTimes,
        metrics: VersionMetrics,
        images: Collection[str] = (),
    ) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._run_times = run_times
        self._metrics = metrics
        self._images = images
        self._max_run_bytes = _MOST_IMAGE_BYTES if images else sys.maxsize
        self._queue: FairQueue[CheckedInputs, R] = FairQueue()
        metrics.follow_queue(lambda: self._queue.rows)

    def __bool__(self) -> bool:
        """Whether a message waits."""
        return bool(self._queue)

    def put(
        self, inputs: CheckedInputs, rows: int, deadline: float, principal: str = "", kind: Hashable = None
    ) -> asyncio.Future[R]:
        """Queue a message; return the future of what it waits for. Cancelling that takes the message back.

        Messages leave together only if they are of one ``kind``.

        Raises:
            PodRefusalError: 429 ``queue-full`` if the queue is, or if the message could not be answered in time.
        """
        return self.put_parts([(inputs, rows)], deadline, principal, kind)[0]

    def put_parts(
        self, parts: Sequence[tuple[CheckedInputs, int]], deadline: float, principal: str = "", kind: Hashable = None
    ) -> list[asyncio.Future[R]]:
        """Queue the parts of one message, each with its rows, or none of them; as ``put`` does."""
        queue = self._queue
        sizes = [_bytes(inputs.arrays, self._images) for inputs, _ in parts]
        now = time.monotonic()
        if queue.rows:
            self._check_room(sum([rows for _, rows in parts]), sum(sizes), principal, deadline - now)
        answers = []
        for (inputs, rows), size in zip(parts, sizes, strict=True):
            answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
            queue.push(Waiting(inputs, rows, size, deadline, answer, now, kind), principal)
            answers.append(answer)
        return answers

    def _check_room(self, rows: int, size: int, principal: str, seconds: float) -> None:
        """Refuse a message that would make the queue too long, or wait in it for longer than ``seconds``."""
        queue = self._queue
        if not queue.admits(principal, rows, size, self._max_rows, self._max_bytes):
            raise _queue_full(
                f"{queue.rows} rows with {queue.size} bytes wait; max_queue_rows is {self._max_rows} "
                f"and max_queue_bytes {self._max_bytes}"
            )
        ahead = queue.rows_ahead(principal)
        wait = self._run_times.estimate(ahead)
        if wait > seconds:
            raise _queue_full(f"{ahead} rows wait before it, about {wait:.2f} s of work, longer than this request has")

    def take(self, max_rows: int) -> list[Waiting[CheckedInputs, R]]:
        """Return whole messages of one kind that fit into ``max_rows`` together; a larger message leaves alone.

        Those whose deadline has passed are answered with 504 ``deadline-exceeded``, those that were cancelled are
        dropped. Empty if none waits.
        """
        now = time.monotonic()
        taken = self._queue.take(max_rows, self._max_run_bytes, now)
        for message in taken:
            self._metrics.queue_seconds.observe(now - message.arrived)
        return taken


def _bytes(inputs: Arrays, images: Collection[str]) -> int:
    """Return the bytes of the inputs; an array of BYTES holds references, whose targets count."""
    size = 0
    for name, array in inputs.items():
        weight = image_weight if name in images else len
        size += sum(map(weight, array.ravel())) if array.dtype.hasobject else array.nbytes
    return size


def _queue_full(reason: str) -> PodRefusalError:
    return PodRefusalError(429, "queue-full", f"{reason}; try again shortly.")
