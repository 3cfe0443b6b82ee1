"""The way of a message through a version that streams: check, wait for one of its processes, read its chunks.

A message is one row and a stream of its own. As many streams are open as the processes take; the others wait in the
queue, where principals take turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.engine.input_checks import check_inputs
from penstock_inference.engine.message import Arrays, CheckedInputs, Message, Outputs
from penstock_inference.engine.padding import Padding
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.engine.queue import MessageQueue
from penstock_inference.engine.run_times import RunTimes
from penstock_inference.metrics import VersionMetrics
from penstock_inference.runners.process import ProcessEndedError
from penstock_inference.runners.process_streams import Piece, ProcessStream, SlowReaderError

_LEAVES = "The model leaves this pod"


class StreamProcess(Protocol):
    """A process that runs streams."""

    @property
    def most_streams(self) -> int: ...

    def open_stream(self, inputs: Arrays) -> ProcessStream: ...


class _Place:
    """One stream that is open in a process."""

    def __init__(self, process: StreamProcess, stream: ProcessStream) -> None:
        self.process = process
        self.stream = stream
        self.since = time.perf_counter()


class StreamEngine:
    """Answers the messages of one version that streams; all its methods are called on one event loop.

    It outlives the processes that run its model: ``run_on`` gives it one more, ``lose`` takes one away.

    Args:
        max_queue_rows: the rows that may wait.
        max_queue_bytes: the bytes of inputs that may wait.
        grace_seconds: that ``drain`` waits.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        max_queue_rows: int,
        max_queue_bytes: int,
        grace_seconds: float,
        metrics: VersionMetrics,
    ) -> None:
        self._manifest = manifest
        self._grace_seconds = grace_seconds
        self._padding = Padding(manifest)
        self._run_times = RunTimes(1)
        self._queue: MessageQueue[_Place] = MessageQueue(max_queue_rows, max_queue_bytes, self._run_times, metrics)
        self._metrics = metrics
        self._open: dict[StreamProcess, set[_Place]] = {}
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stream_metrics = metrics.of_streams(lambda: sum(map(len, self._open.values())))

    def run_on(self, process: StreamProcess) -> None:
        """Run what waits, and what comes, on one more process, which has just loaded the model."""
        self._open[process] = set()
        self._run_times.parallel = len(self._open)
        self._fill()

    def lose(self, process: StreamProcess, reason: str) -> None:
        """Run nothing more on a process that has ended; if it was the last one, send what waits to another pod."""
        self._open.pop(process, None)
        self._run_times.parallel = max(1, len(self._open))
        if not self._open:
            self.refuse_waiting(reason)

    async def submit(self, message: Message) -> Outputs:
        """Answer a message whose caller reads no stream: with its chunk, if it has exactly one.

        Raises:
            PenstockError: 422 ``model-streams`` if there are more, or none; what ``stream`` raises.
        """
        outputs: Outputs | None = None
        async with aclosing(self.stream(message)) as pieces:
            async for piece in pieces:
                if piece.outputs is not None and outputs is not None:
                    raise _streams()
                outputs = piece.outputs or outputs
        if outputs is None:
            raise _streams()
        return outputs

    async def stream(self, message: Message) -> AsyncGenerator[Piece, None]:
        """Queue a message and yield its chunks as they come; the last piece says so. Closing it frees the place.

        Raises:
            PenstockError: 422 ``invalid-input`` if the inputs do not fit the signature; 429 ``slow-reader`` if too
                much waits to be read; 429 ``version-unloaded`` if it did not end within the time of ``drain``; 500
                ``model-crashed`` if the model's process ended after the first chunk, or ended another pod's before.
            PodRefusalError: 429 ``queue-full`` if the message could not be answered in time; 429 ``model-restarting``
                if the model's process ended before the first chunk.
            Exception: what the model raised for it.
        """
        inputs, rows = check_inputs(self._manifest, message.inputs)
        if rows != 1:
            raise PenstockError(422, "invalid-input", f"{rows} rows; this model streams and takes one row a request.")
        arrived = time.perf_counter()
        place = self._queue.put(CheckedInputs(inputs, message.retried), 1, message.deadline, message.principal)
        self._began()
        try:
            self._fill()
            async with aclosing(self._read(await place, message.retried, arrived)) as pieces:
                async for piece in pieces:
                    outputs = piece.outputs and self._padding.cut(piece.outputs, inputs)
                    yield Piece(outputs, piece.last)
        finally:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._leave(place.result())
            place.cancel()
            self._finished()

    def refuse_waiting(self, reason: str) -> None:
        """Send every message that waits to another pod: no process will run it soon."""
        while taken := self._queue.take(1):
            taken[0].future.set_exception(_restarting(reason))

    async def drain(self) -> None:
        """Wait until every stream has ended, but no longer than ``grace_seconds``: the others then end with an error.

        What waits without a process is refused.
        """
        if not self._open:
            self.refuse_waiting(_LEAVES)
        try:
            async with asyncio.timeout(self._grace_seconds):
                await self._idle.wait()
        except TimeoutError:
            self.refuse_waiting(_LEAVES)
            for place in [place for places in self._open.values() for place in places]:
                place.stream.fail(_unloaded(self._grace_seconds))

    async def _read(self, place: _Place, retried: bool, arrived: float) -> AsyncGenerator[Piece, None]:
        """Yield what a stream gives, and measure it."""
        first = True
        while True:
            asked = time.perf_counter()
            try:
                piece = await place.stream.read()
            except ProcessEndedError as err:
                self.lose(place.process, str(err))
                raise _crashed(str(err), retried) if retried or not first else _restarting(str(err)) from None
            except SlowReaderError:
                detail = "More of the answer waits than is kept; read it faster, or ask for less."
                raise PenstockError(429, "slow-reader", detail) from None
            now = time.perf_counter()
            self._metrics.busy.add(asked, now - asked)
            if piece.outputs is not None:
                self._stream_metrics.chunks.inc()
                if first:
                    self._stream_metrics.first_chunk_seconds.observe(now - arrived)
                    first = False
            if piece.last:
                self._run_times.add(1, (now - place.since) / place.process.most_streams)
            yield piece
            if piece.last:
                return

    def _fill(self) -> None:
        """Open streams for what waits while there are places."""
        while self._open:
            process = min(self._open, key=lambda process: len(self._open[process]) / process.most_streams)
            if len(self._open[process]) >= process.most_streams or not (taken := self._queue.take(1)):
                return
            [waiting] = taken
            try:
                stream = process.open_stream(self._padding.pad([waiting.item.arrays])[0])
            except ProcessEndedError as err:
                waiting.future.set_exception(_restarting(str(err)))
                self.lose(process, str(err))
            else:
                place = _Place(process, stream)
                self._open[process].add(place)
                waiting.future.set_result(place)

    def _leave(self, place: _Place) -> None:
        place.stream.close()
        self._open.get(place.process, set()).discard(place)
        self._fill()

    def _began(self) -> None:
        self._under_way += 1
        self._idle.clear()

    def _finished(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()


def _streams() -> PenstockError:
    detail = "This model answers with a stream of chunks; ask for the stream: ModelStreamInfer, or /stream over HTTP."
    return PenstockError(422, "model-streams", detail)


def _restarting(reason: str) -> PodRefusalError:
    detail = f"{reason}; another pod may answer, and this one will again shortly."
    return PodRefusalError(429, "model-restarting", detail)


def _unloaded(seconds: float) -> PenstockError:
    detail = (
        "The answer is not whole: the model's version was replaced, and its streams had "
        f"{seconds:g} s to end. Send the request again."
    )
    return PenstockError(429, "version-unloaded", detail)


def _crashed(reason: str, retried: bool) -> PenstockError:
    if retried:
        detail = f"On two pods the model's process ended with this request: {reason}. Do not send it again."
    else:
        detail = f"The answer is not whole, because the model's process ended: {reason}. Send the request again."
    return PenstockError(500, "model-crashed", detail)
