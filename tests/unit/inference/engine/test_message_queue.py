"""The queue of one model: who is admitted, who leaves, and in which order."""

from __future__ import annotations

import asyncio
import struct
import time

import numpy as np
import pytest
from prometheus_client import REGISTRY

from penstock_common.errors import PenstockError
from penstock_inference.engine.message import Arrays, CheckedInputs, Outputs
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.engine.queue import MessageQueue, QueuedMessage
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import VersionMetrics


@pytest.fixture
def run_times() -> RunTimes:
    return RunTimes(4)


@pytest.fixture
def queue(run_times: RunTimes) -> MessageQueue:
    return MessageQueue(8, 1000, run_times, VersionMetrics("queued", 1))


def put(queue: MessageQueue, rows: int, seconds: float = 30.0, principal: str = "") -> asyncio.Future[Outputs]:
    return queue.put(CheckedInputs({"x": np.zeros(rows)}, False), rows, time.monotonic() + seconds, principal)


def taken(queue: MessageQueue) -> list[int]:
    """The rows of each message that leaves for a model that takes four."""
    return [message.rows for message in queue.take(4)]


async def test_messages_leave_whole_and_in_order() -> None:
    """A message that does not fit waits, and those behind it do not overtake it."""
    queue = MessageQueue(100, 10_000, RunTimes(4), VersionMetrics("queued", 1))
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
    with pytest.raises(PenstockError, match="20 rows with 160 bytes wait; max_queue_rows is 8") as caught:
        put(queue, 1)
    assert (caught.value.status, caught.value.code) == (429, "queue-full")


@pytest.mark.parametrize(
    "inputs", [{"x": np.zeros(1, dtype="V900")}, {"x": np.array([b"a" * 400, b"b" * 500], dtype=object)}]
)
async def test_the_queue_is_bounded_in_bytes(queue: MessageQueue, inputs: Arrays) -> None:
    """Those of the values count, also of BYTES; the refusal names the bound."""
    queue.put(CheckedInputs(inputs, False), 1, time.monotonic() + 30)
    with pytest.raises(
        PodRefusalError, match="1 rows with 900 bytes wait; max_queue_rows is 8 and max_queue_bytes 1000"
    ) as caught:
        queue.put(CheckedInputs(inputs, False), 1, time.monotonic() + 30)
    assert caught.value.code == "queue-full"


async def test_principals_take_turns(run_times: RunTimes) -> None:
    """One who fills the queue is refused, for its bounds and for the time; another comes in and soon has its turn."""
    queue = MessageQueue(64, 1000, run_times, VersionMetrics("queued", 1))
    for _ in range(64):
        put(queue, 1, principal="flood")
    with pytest.raises(PodRefusalError, match="max_queue_rows is 64"):
        put(queue, 1, principal="flood")
    run_times.add(4, 1.0)
    small = put(queue, 1, seconds=6, principal="small")
    with pytest.raises(PodRefusalError, match=r"2 rows wait before it, about 1\.00 s"):
        put(queue, 1, seconds=0.5, principal="other")
    left: list[QueuedMessage] = []
    while not any(message.future is small for message in left):
        left += queue.take(4)
    assert len(left) <= 4


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
    queue = MessageQueue(4096, 100_000, run_times, VersionMetrics("queued", 1))
    for _ in range(50):
        run_times.add(1, 0.02)
    for _ in range(50):
        put(queue, 10, seconds=2)
    for _ in range(50):
        run_times.add(128, 0.1)
    put(queue, 10, seconds=2)
    for _ in range(50):
        run_times.add(128, 1.0)
    with pytest.raises(PenstockError, match=r"510 rows wait before it, about 4\.\d\d s of work"):
        put(queue, 10, seconds=2)


async def test_the_gauge_follows_the_rows(queue: MessageQueue) -> None:
    """``penstock_inference_queue_rows`` is what waits, after each change."""
    labels = {"model": "queued", "version": "1"}
    seen = []
    for rows in (1, 3, 2):
        put(queue, rows)
        seen.append(REGISTRY.get_sample_value("penstock_inference_queue_rows", labels))
    queue.take(4)
    seen.append(REGISTRY.get_sample_value("penstock_inference_queue_rows", labels))
    assert seen == [1, 4, 6, 2]


async def test_a_run_decodes_a_bounded_number_of_pixels() -> None:
    """Images of 49 million pixels in a few bytes each leave one by one, and small ones together."""
    queue = MessageQueue[Outputs](100, 10**9, RunTimes(8), VersionMetrics("queued", 1), images=["image"])
    for side in [7000] * 3 + [100] * 3:
        image = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", side, side) + bytes(9)
        arrays: Arrays = {"image": np.array([image], object)}
        queue.put(CheckedInputs(arrays, False), 1, time.monotonic() + 30)
    assert [len(queue.take(8)) for _ in range(4)] == [1, 1, 4, 0]
