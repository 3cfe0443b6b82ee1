"""The queue of one model: who is admitted, who leaves, and in which order."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_inference.engine.message import Outputs
from penstock_inference.engine.queue import MessageQueue
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import QUEUE_ROWS, version_metrics


@pytest.fixture
def run_times() -> RunTimes:
    return RunTimes(4)


@pytest.fixture
def queue(run_times: RunTimes) -> MessageQueue:
    return MessageQueue(8, run_times, version_metrics("queued", 1))


def put(queue: MessageQueue, rows: int, seconds: float = 30.0) -> asyncio.Future[Outputs]:
    return queue.put({"x": np.zeros(rows)}, rows, time.monotonic() + seconds)


def taken(queue: MessageQueue) -> list[int]:
    """The rows of each message that leaves for a model that takes four."""
    return [message.rows for message in queue.take(4)]


async def test_messages_leave_whole_and_in_order() -> None:
    """A message that does not fit waits, and those behind it do not overtake it."""
    queue = MessageQueue(100, RunTimes(4), version_metrics("queued", 1))
    for rows in (2, 1, 2, 1, 9, 1):
        put(queue, rows)
    assert [taken(queue) for _ in range(5)] == [[2, 1], [2, 1], [9], [1], []]


async def test_an_expired_message_is_answered_and_makes_room(queue: MessageQueue) -> None:
    """It gets 504 ``deadline-exceeded`` and counts neither for the batch nor for the queue's bound."""
    expired = put(queue, 4, seconds=-1)
    put(queue, 4)
    assert taken(queue) == [4]
    error = expired.exception()
    assert isinstance(error, PenstockError)
    assert error.code == "deadline-exceeded"
    put(queue, 8)


async def test_a_cancelled_message_is_dropped(queue: MessageQueue) -> None:
    """It does not leave for the model."""
    put(queue, 1)
    put(queue, 3).cancel()
    put(queue, 2)
    assert taken(queue) == [1, 2]


async def test_an_empty_queue_admits_a_message_above_its_bound(queue: MessageQueue) -> None:
    """Else a large message could never be answered; the next one is refused, and told how many rows wait."""
    put(queue, 20)
    with pytest.raises(PenstockError, match="20 rows wait and 8 may") as caught:
        put(queue, 1)
    assert (caught.value.status, caught.value.code) == (429, "queue-full")


async def test_a_message_that_would_be_late_is_refused(queue: MessageQueue, run_times: RunTimes) -> None:
    """What waits takes longer than the message has; one with more time is admitted."""
    run_times.add(1, 10.0)
    put(queue, 1, seconds=5)  # nothing waits before it
    with pytest.raises(PenstockError, match=r"about \d+\.\d\d s of work, longer than this request has") as caught:
        put(queue, 1, seconds=5)
    assert caught.value.code == "queue-full"
    put(queue, 1, seconds=50)


async def test_rows_are_not_refused_for_what_single_rows_took() -> None:
    """Single rows took 20 ms each, but they wait for batches: 500 in batches of 128 are no reason to refuse.

    Once batches have been slow as well, they are.
    """
    run_times = RunTimes(128)
    queue = MessageQueue(4096, run_times, version_metrics("queued", 1))
    for _ in range(50):
        run_times.add(1, 0.02)
    for _ in range(50):
        put(queue, 10, seconds=2)
    for _ in range(50):
        run_times.add(128, 0.1)
    put(queue, 10, seconds=2)
    for _ in range(50):
        run_times.add(128, 1.0)
    with pytest.raises(PenstockError, match=r"510 rows wait, about 4\.\d\d s of work"):
        put(queue, 10, seconds=2)


async def test_the_gauge_follows_the_rows(queue: MessageQueue) -> None:
    """``penstock_inference_queue_rows`` is what waits, after each change."""
    gauge = QUEUE_ROWS.labels("queued", "1")._value
    seen = []
    for rows in (1, 3, 2):
        put(queue, rows)
        seen.append(gauge.get())
    queue.take(4)
    seen.append(gauge.get())
    assert seen == [1, 4, 6, 2]
