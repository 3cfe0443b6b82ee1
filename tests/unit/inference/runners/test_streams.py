"""The streams of a model's process: what they give, how they wait, and that they end alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Priority, Resources
from penstock_inference.runners import process_streams
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import LoadFailedError, ModelFailedError, ModelProcess, ProcessEndedError
from penstock_inference.runners.process_streams import ProcessStream, SlowReaderError
from penstock_inference.runners.wire import BEHIND_CHUNKS, MAX_CHUNK_BYTES
from tests.unit.inference.streaming import row, streaming_manifest, write_model

MEMORY_BYTES = 512 * 2**20
Start = Callable[..., Awaitable[ModelProcess]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a process with the streaming model; one that makes no progress for three seconds is killed."""
    forker = Forker(run_seconds=3.0, load_seconds=10.0)
    write_model(tmp_path)

    async def start(**members: Any) -> ModelProcess:
        manifest = streaming_manifest(**members)
        return await forker.start(manifest, tmp_path, threads=1, memory_bytes=MEMORY_BYTES)

    yield start
    await forker.close()


async def next_y(stream: ProcessStream) -> int:
    """The number of the next chunk."""
    async with asyncio.timeout(30):
        piece = await stream.read()
    assert piece.outputs is not None
    return int(piece.outputs[0][0])


async def rest(stream: ProcessStream) -> list[int]:
    """The numbers of all further chunks."""
    numbers = []
    async with asyncio.timeout(30):
        while True:
            piece = await stream.read()
            if piece.outputs is not None:
                numbers.append(int(piece.outputs[0][0]))
            if piece.last:
                return numbers


async def state(process: ModelProcess) -> tuple[int, int]:
    """How many streams have ended in the model so far, and how many chunks it has made."""
    stream = process.open_stream(row("state"))
    async with asyncio.timeout(30):
        outputs = (await stream.read()).outputs
    assert outputs is not None
    await rest(stream)
    stream.close()
    return int(outputs[0][0]), int(outputs[1][0, 0])


@pytest.mark.parametrize(("priority", "nice"), [(Priority.LOW, 6), (Priority.NORMAL, 0), (Priority.HIGH, 0)])
async def test_a_low_priority_is_one_of_the_operating_system(start: Start, priority: Priority, nice: int) -> None:
    """No scheduler of ours grants the steps of streams, so the kernel has to know."""
    process = await start(resources=Resources(priority=priority))
    assert psutil.Process(process.pid).nice() - psutil.Process().nice() == nice


async def test_chunks_come_in_order(start: Start) -> None:
    """Those of several streams at once, far more than may be unread."""
    process = await start()
    assert process.most_streams == 4
    streams = [process.open_stream(row("count", n)) for n in (100, 3, 0)]
    assert await asyncio.gather(*map(rest, streams)) == [list(range(100)), [0, 1, 2], []]


async def test_a_chunk_comes_while_the_model_works_on_the_next(start: Start, tmp_path: Path) -> None:
    """Nothing is kept back until there is more."""
    stream = (await start()).open_stream(row("gated", 3))
    assert await next_y(stream) == 0
    (tmp_path / "gate-1").touch()
    assert await next_y(stream) == 1
    (tmp_path / "gate-2").touch()
    assert await rest(stream) == [2]


async def test_a_chunk_may_be_larger_than_a_packet(start: Start) -> None:
    """It comes through shared memory, beside small ones of other streams."""
    process = await start()
    large, small = process.open_stream(row("large", 2_000_000)), process.open_stream(row("count", 20))
    for expected in range(3):
        outputs = (await large.read()).outputs
        assert outputs is not None
        assert outputs[1].shape == (1, 2_000_000)
        assert (outputs[1] == expected).all()
    assert await rest(small) == list(range(20))
    assert await rest(large) == []


async def test_a_chunk_beyond_all_bounds_ends_its_stream_alone(start: Start) -> None:
    """The error names the bound; the process goes on."""
    process = await start()
    with pytest.raises(ModelFailedError, match=f"{MAX_CHUNK_BYTES} are possible"):
        await rest(process.open_stream(row("large", MAX_CHUNK_BYTES // 4 + 1)))
    assert await rest(process.open_stream(row("count", 1))) == [0]


async def test_inputs_may_be_larger_than_a_packet(start: Start) -> None:
    """They travel in shared memory."""
    process = await start()
    inputs = row("count", 2)
    inputs["what"][0] = b"x" * 1_000_000
    with pytest.raises(ModelFailedError, match="AttributeError"):
        await rest(process.open_stream(inputs))
    assert await rest(process.open_stream(row("count", 1))) == [0]


async def test_a_stream_that_is_closed_ends_in_the_model_within_a_step(start: Start) -> None:
    """The model's generator is closed before any other step; its other streams go on."""
    process = await start()
    other = process.open_stream(row("endless"))
    assert await next_y(other) > 0
    ended, _ = await state(process)
    stream = process.open_stream(row("endless"))
    await next_y(stream)
    stream.close()
    assert (await state(process))[0] == ended + 2  # this one, and the one that asked before
    assert await next_y(other) > 0


async def test_a_slow_reader_stops_the_model(start: Start) -> None:
    """A model makes a few chunks more than were read, and goes on when they are; other streams do not wait."""
    process = await start()
    stream = process.open_stream(row("endless"))
    first = await next_y(stream)
    for _ in range(20):
        _, steps = await state(process)
    assert steps <= first + BEHIND_CHUNKS
    for expected in range(1, 50):
        assert await next_y(stream) == first + expected


@pytest.mark.parametrize(("floats", "ahead"), [(1_500_000, 2), (3_000_000, 1)])
async def test_a_slow_reader_of_large_chunks_bounds_memory(start: Start, floats: int, ahead: int) -> None:
    """By bytes, not only by their number: chunks of 6 and of 12 MB; and the model goes on once they are read."""
    process = await start()
    stream = process.open_stream(row("endless_large", floats))
    first = await next_y(stream)
    for _ in range(20):
        _, steps = await state(process)
    assert steps <= first + ahead
    for expected in range(1, 10):
        assert await next_y(stream) == first + expected


async def test_a_stream_that_does_not_wait_for_its_reader_ends(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once more is unread than the server keeps; the reader gets what there was, and then the reason."""
    monkeypatch.setattr(process_streams, "MAX_UNREAD_BYTES", 2500)
    process = await start()
    stream = process.open_stream(row("count", 10))
    async with asyncio.timeout(30):
        while not stream.ended:
            await asyncio.sleep(0.01)
    assert [await next_y(stream), await next_y(stream)] == [0, 1]
    with pytest.raises(SlowReaderError):
        await stream.read()
    assert await rest(process.open_stream(row("count", 1))) == [0]


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("refuse", ModelFailedError, "ValueError: not this one"),
        ("fail", ModelFailedError, "ValueError: a fault of the model"),
        ("wrong", PenstockError, "output 'y' as FP64"),
        ("list", ModelFailedError, "stream yields a dict of arrays by name; this is a list"),
    ],
)
async def test_an_error_ends_its_own_stream_only(start: Start, what: str, error: type[Exception], text: str) -> None:
    """Whatever a model raises or gives for one; another that is open goes on."""
    process = await start()
    other = process.open_stream(row("endless"))
    first = await next_y(other)
    with pytest.raises(error, match=text):
        await rest(process.open_stream(row(what)))
    assert [await next_y(other), await next_y(other)] == [first + 1, first + 2]


async def test_what_came_before_an_error_is_read_before_it(start: Start) -> None:
    """A stream with three chunks and an error gives three chunks and the error."""
    stream = (await start()).open_stream(row("fail", 3))
    assert [await next_y(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ModelFailedError, match="a fault of the model"):
        await stream.read()


async def test_a_process_that_ends_ends_its_streams(start: Start) -> None:
    """All of them, with the reason, after what they gave."""
    process = await start()
    other = process.open_stream(row("endless"))
    await next_y(other)
    stream = process.open_stream(row("crash", 2))
    assert [await next_y(stream), await next_y(stream)] == [0, 1]
    for one in (stream, other):
        with pytest.raises(ProcessEndedError, match="ended by itself with status 3"):
            await rest(one)
    with pytest.raises(ProcessEndedError):
        process.open_stream(row("count", 1))


async def test_a_step_without_an_end_is_a_hang(start: Start) -> None:
    """The process is killed for it."""
    process = await start()
    with pytest.raises(ProcessEndedError, match=r"more than \d+ s"):
        await rest(process.open_stream(row("hang")))
    assert process.cause == "hang"


async def test_a_stream_that_waits_for_its_caller_is_no_hang(start: Start) -> None:
    """However long, its process lives. A process that is stopped meanwhile does not."""
    process = await start()
    stream = process.open_stream(row("endless"))
    await next_y(stream)
    await asyncio.sleep(5)  # more than a run may take
    assert process.cause == ""
    os.kill(process.pid, signal.SIGSTOP)
    async with asyncio.timeout(30):
        await process.ended.wait()
    assert process.cause == "silent"


async def test_many_messages_to_a_busy_process_are_kept(start: Start, tmp_path: Path) -> None:
    """More than its socket holds: all of them arrive once it reads."""
    process = await start()
    gated = process.open_stream(row("gated", 2))
    assert await next_y(gated) == 0
    streams = [process.open_stream(row("count", 1) | {"n": np.array([1])}) for _ in range(2000)]
    (tmp_path / "gate-1").touch()
    assert await rest(gated) == [1]
    assert await asyncio.gather(*map(rest, streams)) == [[0]] * 2000


@pytest.mark.parametrize(
    ("examples", "outputs", "reason"),
    [
        ([{"what": "fail", "n": 1}], None, "ValueError: a fault of the model"),
        ([{"what": "count", "n": 1}, {"what": "wrong", "n": 1}], None, "output 'y' as FP64"),
        ([{"what": "count", "n": 0}], None, "No trial gave a chunk with outputs"),
    ],
)
async def test_a_load_tries_the_examples(start: Start, examples: list[Any], outputs: Any, reason: str) -> None:
    """A model fails to load if a chunk of an example does not fit the manifest."""
    with pytest.raises(LoadFailedError, match=reason):
        await start(examples=examples)


async def test_a_trial_of_a_stream_without_an_end_ends(start: Start) -> None:
    """After enough chunks; the model loads."""
    process = await start(examples=[{"what": "endless", "n": 1}])
    assert (await state(process))[0] >= 1
