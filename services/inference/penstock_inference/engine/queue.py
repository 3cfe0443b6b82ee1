"""The messages that wait for one model: which are admitted, and which leave together.

A message is refused at once if it could not be answered before its deadline. One
whose deadline passes, or whose caller goes away, while it waits never leaves for the model.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

from penstock_common.errors import PenstockError
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import VersionMetrics


@dataclass(eq=False, slots=True)
class QueuedMessage:
    """A message whose inputs were checked; times are in seconds of ``time.monotonic()``."""

    inputs: Arrays
    rows: int
    deadline: float
    arrived: float
    outputs: asyncio.Future[Outputs]


class MessageQueue:
    """First come, first served.

    Args:
        max_rows: the rows that may wait; a message of more is still admitted if it finds the queue empty.
        run_times: estimates what the rows that wait will cost.
    """

    def __init__(self, max_rows: int, run_times: RunTimes, metrics: VersionMetrics) -> None:
        self._max_rows = max_rows
        self._run_times = run_times
        self._metrics = metrics
        self._messages: deque[QueuedMessage] = deque()
        self._rows = 0

    def put(self, inputs: Arrays, rows: int, deadline: float) -> asyncio.Future[Outputs]:
        """Queue a message; return the future of its outputs. Cancelling that future takes the message back.

        Raises:
            PodRefusalError: 429 ``queue-full`` if the message could not be answered in time.
        """
        now = time.monotonic()
        wait = self._run_times.estimate(self._rows)
        if self._messages and self._rows + rows > self._max_rows:
            raise _queue_full(f"{self._rows} rows wait and {self._max_rows} may")
        if wait and now + wait > deadline:
            raise _queue_full(f"{self._rows} rows wait, about {wait:.2f} s of work, longer than this request has")
        message = QueuedMessage(inputs, rows, deadline, now, asyncio.get_running_loop().create_future())
        self._messages.append(message)
        self._rows += rows
        self._metrics.queue_rows.set(self._rows)
        return message.outputs

    def take(self, max_rows: int) -> list[QueuedMessage]:
        """Return the messages from the front that fit into ``max_rows``; a larger message leaves alone.

        The messages are whole and in order. Those whose deadline has passed are answered with
        504 ``deadline-exceeded``, those that were cancelled are dropped. Empty if none waits.
        """
        now = time.monotonic()
        taken: list[QueuedMessage] = []
        rows = 0
        while self._messages:
            message = self._messages[0]
            cancelled = message.outputs.done()
            expired = not cancelled and message.deadline <= now
            if not cancelled and not expired and taken and rows + message.rows > max_rows:
                break
            self._messages.popleft()
            self._rows -= message.rows
            if expired:
                message.outputs.set_exception(
                    PenstockError(504, "deadline-exceeded", "The request's time was up before the model could run.")
                )
            elif not cancelled:
                self._metrics.queue_seconds.observe(now - message.arrived)
                taken.append(message)
                rows += message.rows
        self._metrics.queue_rows.set(self._rows)
        return taken


def _queue_full(reason: str) -> PodRefusalError:
    return PodRefusalError(429, "queue-full", f"{reason}; try again shortly.")
