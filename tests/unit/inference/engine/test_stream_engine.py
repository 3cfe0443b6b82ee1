"""The engine of a version that streams: places, turns, ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY

from penstock_common.errors import PenstockError
from penstock_inference.engine import streams
from penstock_inference.engine.message import Message
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.engine.streams import StreamEngine
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.process import ProcessEndedError
from penstock_inference.runners.process_streams import Piece, ProcessStream, ProcessStreams, SlowReaderError
from penstock_inference.runners.wire import Close, FromServer
from tests.unit.inference.streaming import row, streaming_manifest


class FakeProcess:
    """Two streams at a time, which the test feeds."""

    most_streams = 2

    def __init__(self) -> None:
        self.sent: list[FromServer] = []
        self._streams = ProcessStreams(self._send, 2, lambda failed: ValueError(failed.text))
        self.opened: list[ProcessStream] = []
        self.reason = ""

    def _send(self, message: FromServer, fds: Sequence[int]) -> None:
        self.sent.append(message)

    def open_stream(self, inputs: dict[str, NDArray[Any]]) -> ProcessStream:
        if self.reason:
            raise ProcessEndedError(self.reason)
        self.opened.append(self._streams.open(inputs))
        return self.opened[-1]

    @property
    def closed(self) -> list[int]:
        return [message.stream for message in self.sent if isinstance(message, Close)]

    def end(self, reason: str = "its process was ended by SIGKILL") -> None:
        self.reason = reason
        self._streams.end(lambda: ProcessEndedError(reason))


def piece(y: int, *, last: bool = False) -> Piece:
    return Piece([np.array([y]), np.zeros((1, 1), np.float32)], last)


@pytest.fixture
def process() -> FakeProcess:
    return FakeProcess()


@pytest.fixture
async def engine(process: FakeProcess) -> AsyncIterator[StreamEngine]:
    metrics = VersionMetrics("s", 1)
    engine = StreamEngine(
        streaming_manifest(), max_queue_rows=3, max_queue_bytes=10_000, grace_seconds=30, metrics=metrics
    )
    engine.run_on(process)
    yield engine
    metrics.remove()


class Reader:
    """A caller that reads all of its stream."""

    def __init__(self, engine: StreamEngine, *, principal: str = "", retried: bool = False, n: int = 1) -> None:
        self.read: list[int] = []
        message = Message(row("count", n), time.monotonic() + 30, principal, retried)
        self.task = asyncio.create_task(self._read(engine, message))

    async def _read(self, engine: StreamEngine, message: Message) -> None:
        async for one in engine.stream(message):
            if one.outputs is not None:
                self.read.append(int(one.outputs[0][0]))

    async def reads(self, *expected: int) -> None:
        async with asyncio.timeout(10):
            while self.read != [*expected]:
                await asyncio.sleep(0)


async def settled() -> None:
    """Let the tasks that can run do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_chunks_are_given_as_they_come(engine: StreamEngine, process: FakeProcess) -> None:
    """Each before the next is there; an end that comes alone ends the stream."""
    reader = Reader(engine)
    await settled()
    [stream] = process.opened
    for y in range(3):
        stream.add(piece(y))
        await reader.reads(*range(y + 1))
    stream.add(Piece(None, True))
    await reader.task


async def test_others_wait_for_a_place(engine: StreamEngine, process: FakeProcess) -> None:
    """As many streams are open as the process takes; the next begins when one has ended."""
    readers = [Reader(engine) for _ in range(3)]
    await settled()
    assert len(process.opened) == 2
    assert REGISTRY.get_sample_value("penstock_inference_streams_open", {"model": "s", "version": "1"}) == 2
    process.opened[0].add(piece(1, last=True))
    await readers[0].task
    assert len(process.opened) == 3
    process.opened[1].add(piece(2, last=True))
    process.opened[2].add(piece(3, last=True))
    await asyncio.gather(*[reader.task for reader in readers])
    assert [reader.read for reader in readers] == [[1], [2], [3]]
    assert process.closed == []


async def test_principals_take_turns(engine: StreamEngine, process: FakeProcess) -> None:
    """One that has filled all places and the queue does not keep out another."""
    first = [Reader(engine, principal="flood") for _ in range(5)]
    await settled()
    other = Reader(engine, principal="small", n=7)
    await settled()
    process.opened[0].add(piece(0, last=True))
    process.opened[1].add(piece(0, last=True))
    await settled()
    assert len(process.opened) == 4
    process.end()
    await asyncio.wait([other.task, *[reader.task for reader in first]])
    with pytest.raises(PodRefusalError, match="SIGKILL"):  # it had its place
        await other.task


async def test_a_caller_that_leaves_frees_its_place(engine: StreamEngine, process: FakeProcess) -> None:
    """The process hears of it at once, and who waited begins."""
    readers = [Reader(engine) for _ in range(3)]
    await settled()
    process.opened[0].add(piece(0))
    await readers[0].reads(0)
    readers[0].task.cancel()
    await asyncio.wait([readers[0].task])
    assert process.closed == [process.opened[0].number]
    assert len(process.opened) == 3
    for reader in readers[1:]:
        reader.task.cancel()
    await asyncio.wait([reader.task for reader in readers])
    assert sorted(process.closed) == [1, 2, 3]


async def test_a_caller_that_leaves_while_it_waits_opens_nothing(engine: StreamEngine, process: FakeProcess) -> None:
    """Its message is dropped from the queue."""
    readers = [Reader(engine) for _ in range(3)]
    await settled()
    readers[2].task.cancel()
    process.opened[0].add(piece(0, last=True))
    await asyncio.wait([readers[0].task, readers[2].task])
    assert len(process.opened) == 2
    process.opened[1].add(piece(0, last=True))
    await readers[1].task


async def test_a_full_queue_refuses(engine: StreamEngine) -> None:
    """Another pod may have a place."""
    readers = [Reader(engine) for _ in range(5)]
    await settled()
    with pytest.raises(PodRefusalError, match="3 rows with") as caught:
        await Reader(engine).task
    assert caught.value.code == "queue-full"
    for reader in readers:
        reader.task.cancel()
    await asyncio.wait([reader.task for reader in readers])


async def test_two_processes_halve_the_wait_until_one_has_ended(
    engine: StreamEngine, process: FakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams of 90 s, two at a time: who waits behind another has 45 s to wait for one process, and half for two."""
    clock = 0.0
    monkeypatch.setattr(streams, "time", SimpleNamespace(perf_counter=lambda: clock))
    other = FakeProcess()
    engine.run_on(other)
    first = Reader(engine)
    await settled()
    clock = 90.0
    process.opened[0].add(piece(0, last=True))
    await first.task
    readers = [Reader(engine) for _ in range(6)]
    await settled()
    assert len(process.opened + other.opened) == 5
    assert not any(reader.task.done() for reader in readers)
    other.end()
    engine.lose(other, other.reason)
    with pytest.raises(PodRefusalError, match=r"about 90\.00 s of work"):
        await Reader(engine).task
    for reader in readers:
        reader.task.cancel()
    await asyncio.wait([reader.task for reader in readers])


async def test_one_row_is_one_stream(engine: StreamEngine) -> None:
    """A message of two is refused with what it should be."""
    inputs = {name: np.concatenate([array, array]) for name, array in row("count", 1).items()}
    with pytest.raises(PenstockError, match="2 rows; this model streams and takes one row a request"):
        await anext(engine.stream(Message(inputs, time.monotonic() + 30)))


@pytest.mark.parametrize(
    ("chunks", "retried", "status", "code"),
    [(0, False, 429, "model-restarting"), (0, True, 500, "model-crashed"), (1, False, 500, "model-crashed")],
)
async def test_a_process_that_ends(
    engine: StreamEngine, process: FakeProcess, chunks: int, retried: bool, status: int, code: str
) -> None:
    """Another pod answers if nothing was sent, and none had the message before; what waits goes to another pod too."""
    reader, second, waits = Reader(engine, retried=retried), Reader(engine), Reader(engine)
    await settled()
    for y in range(chunks):
        process.opened[0].add(piece(y))
    await reader.reads(*range(chunks))
    process.end()
    await asyncio.wait([reader.task, second.task, waits.task])
    error = reader.task.exception()
    assert isinstance(error, PenstockError)
    assert (error.status, error.code) == (status, code)
    assert isinstance(error, PodRefusalError) == (status == 429)
    for other in (second, waits):
        assert isinstance(other.task.exception(), PodRefusalError)


async def test_the_next_process_goes_on(engine: StreamEngine, process: FakeProcess) -> None:
    """Messages that come between two processes wait for the next one."""
    process.end()
    with pytest.raises(PodRefusalError):
        await Reader(engine).task
    reader = Reader(engine)
    await settled()
    following = FakeProcess()
    engine.run_on(following)
    following.opened[0].add(piece(5, last=True))
    await reader.task
    assert reader.read == [5]


async def test_a_reader_that_is_too_slow_gets_an_error(engine: StreamEngine, process: FakeProcess) -> None:
    """It says what to do; the chunks before it were read."""
    reader = Reader(engine)
    await settled()
    process.opened[0].add(piece(0))
    process.opened[0].fail(SlowReaderError(""))
    with pytest.raises(PenstockError, match="read it faster") as caught:
        await reader.task
    assert (caught.value.code, reader.read) == ("slow-reader", [0])


@pytest.mark.parametrize("chunks", [0, 1, 2])
async def test_without_a_stream_there_must_be_one_chunk(
    engine: StreamEngine, process: FakeProcess, chunks: int
) -> None:
    """Else the caller has to read a stream; the model's is closed as soon as that is known."""
    answer = asyncio.create_task(engine.submit(Message(row("count", 1), time.monotonic() + 30)))
    await settled()
    for y in range(chunks):
        process.opened[0].add(piece(y))
    if chunks == 2:
        with pytest.raises(PenstockError, match="ModelStreamInfer"):
            await answer
        assert process.closed == [1]
        return
    process.opened[0].add(Piece(None, True))
    if chunks:
        assert (await answer)[0].tolist() == [0]
    else:
        with pytest.raises(PenstockError, match="ModelStreamInfer"):
            await answer


async def test_draining_waits_for_streams(engine: StreamEngine, process: FakeProcess) -> None:
    """Those that are open and those that wait."""
    readers = [Reader(engine) for _ in range(3)]
    await settled()
    draining = asyncio.create_task(engine.drain())
    for i in range(3):
        await settled()
        assert not draining.done()
        process.opened[i].add(piece(0, last=True))
    await draining
    await asyncio.gather(*[reader.task for reader in readers])


async def test_draining_ends_streams_after_a_while(engine: StreamEngine, process: FakeProcess) -> None:
    """Those that are open end with an error after what came, those that wait go to another pod."""
    engine._grace_seconds = 0.0
    cut = [Reader(engine), Reader(engine)]
    waiting = Reader(engine)
    await settled()
    process.opened[0].add(piece(0))
    async with asyncio.timeout(10):
        await engine.drain()
    with pytest.raises(PenstockError, match="0 s to end") as caught:
        await cut[0].task
    assert (caught.value.code, cut[0].read) == ("version-unloaded", [0])
    with pytest.raises(PenstockError, match="not whole"):
        await cut[1].task
    with pytest.raises(PodRefusalError, match="leaves this pod"):
        await waiting.task


async def test_streams_are_measured(engine: StreamEngine, process: FakeProcess) -> None:
    """Their chunks, and the time to the first."""

    def value(name: str) -> float:
        return REGISTRY.get_sample_value(f"penstock_inference_{name}", {"model": "s"}) or 0.0

    chunks, firsts = value("stream_chunks_total"), value("first_chunk_seconds_count")
    reader = Reader(engine)
    await settled()
    process.opened[0].add(piece(0))
    process.opened[0].add(piece(1, last=True))
    await reader.task
    assert value("stream_chunks_total") == chunks + 2
    assert value("first_chunk_seconds_count") == firsts + 1
