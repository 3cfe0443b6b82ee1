"""The work on one batch, by the gateway that has the lease on it: each status has its step, until the batch is over."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable

from penstock_common.errors import PenstockError
from penstock_gateway.batches.answered_line import AnsweredLine, expired
from penstock_gateway.batches.batch_bounds import BatchBounds
from penstock_gateway.batches.batch_record import OPEN, Batch, BatchError, Status
from penstock_gateway.batches.batches import Batches, LeaseLostError
from penstock_gateway.batches.input_lines import decode_line, read_lines
from penstock_gateway.batches.line_calls import KeyRefusedError, LineCalls
from penstock_gateway.batches.line_window import LineWindow
from penstock_gateway.batches.parts import Part, PartHeader, Parts, PartsGoneError
from penstock_gateway.batches.validation import validate
from penstock_gateway.files.contents import Contents
from penstock_gateway.files.file_record import new_file_id
from penstock_gateway.files.files import Files

#: Between two renewals of the lease.
_LOOK_SECONDS = 2.0
#: For the lines that are under way when a turn is over; then they are given up and answered in a later turn.
_LAST_SECONDS = 30.0


class BatchRun:
    """One lease on a batch.

    Args:
        turn_is_over: whether the batch should make room for others now.
    """

    def __init__(
        self,
        batch: Batch,
        batches: Batches,
        files: Files,
        contents: Contents,
        calls: LineCalls,
        bounds: BatchBounds,
        turn_is_over: Callable[[], bool],
    ) -> None:
        self._batch = batch
        self._batches = batches
        self._files = files
        self._parts = Parts(contents, batch.id)
        self._calls = calls
        self._bounds = bounds
        self._turn_is_over = turn_is_over
        self._window = LineWindow()
        #: No line is added any more: the batch is cancelled, or its turn is over.
        self._stopping = False
        self._cancelled = False
        self._over = asyncio.Event()

    async def work(self) -> None:
        """Do what there is to do, or a turn of it.

        Raises:
            LeaseLostError: another gateway has taken the batch.
            PenstockError: 503 ``file-store-away``.
        """
        steps = {
            Status.VALIDATING: self._validate,
            Status.IN_PROGRESS: self._answer,
            Status.FINALIZING: self._finalize,
            Status.CANCELLING: self._finalize,
        }
        working = asyncio.current_task()
        assert working is not None
        renewing = asyncio.create_task(self._renew_until_lost(working))
        try:
            while self._batch.status in OPEN:
                done = self._batch.status
                await steps[done]()
                self._batch = await self._batches.reload(self._batch)
                # A key has one batch in progress at a time: whoever takes it next keeps to that.
                if done is Status.VALIDATING or (self._stopping and not self._cancelled):
                    return
        except asyncio.CancelledError:
            if renewing.done():
                raise LeaseLostError from None
            raise
        finally:
            self._window.cancel()
            self._over.set()
            await asyncio.wait([renewing])  # a renewal after the release would keep the batch from others

    async def _renew_until_lost(self, working: asyncio.Task[None]) -> None:
        """Keep the lease and look whether the work should end, until it has; if the lease is lost, cancel the work."""
        renewed = time.monotonic()
        stop_at = math.inf
        while time.monotonic() - renewed < self._batches.lease_seconds:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_LOOK_SECONDS, self._batches.lease_seconds / 4)):
                    await self._over.wait()
                    return
            now = time.monotonic()
            try:
                batch = await self._batches.renew(self._batch)
            except LeaseLostError:
                break
            except PenstockError:  # logged; the lease lasts for a while without
                continue
            renewed = now
            if batch.status is Status.CANCELLING:
                self._stopping = self._cancelled = True
                stop_at = now
            elif self._turn_is_over() and not self._stopping:
                self._stopping = True
                stop_at = now + _LAST_SECONDS
            if now >= stop_at:
                self._window.cancel()
        working.cancel()

    # validating

    async def _validate(self) -> None:
        batch, bounds = self._batch, self._bounds
        try:
            chunks = await self._input()
            total, errors = await validate(
                chunks, batch.order.endpoint, bounds.max_batch_lines, bounds.max_batch_line_bytes
            )
        except FileNotFoundError:
            total, errors = 0, [_file_is_gone()]
        if errors:
            await self._fail(errors)
        else:
            batch.progress.total = total
            batch.progress.began = time.time()
            await self._batches.move(batch, Status.IN_PROGRESS)

    # in_progress

    async def _answer(self) -> None:
        """Answer lines until none is left, the batch is cancelled, or its turn is over."""
        try:
            await self._count_written()
            await self._answer_lines()
        except KeyRefusedError:
            text = "The key that made the batch was revoked or has expired; make the batch again with another key."
            await self._fail([BatchError("key_refused", text)])
        except FileNotFoundError:
            await self._fail([_file_is_gone()])
        else:
            if self._batch.progress.next_line == self._batch.progress.total:
                self._batch.progress.finalizing = time.time()
                await self._batches.move(self._batch, Status.FINALIZING)

    async def _answer_lines(self) -> None:
        answered = self._batch.progress.next_line
        part = Part(answered, time.monotonic())
        place = 0
        async for _, line in read_lines(await self._input(), self._bounds.max_batch_line_bytes):
            place += 1
            if place <= answered:
                continue
            while self._window.is_full:
                part = await self._take(part)
            if self._stopping:
                break
            self._window.add(self._answer_line(line), len(line))
        while self._window:
            part = await self._take(part)
        await self._write(part)

    async def _answer_line(self, line: bytes) -> AnsweredLine:
        """The answer to a line, or that the batch's time is over."""
        order = self._batch.order
        request = decode_line(line, order.endpoint)
        left = order.expires - time.time()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    return await self._calls.answer(self._batch.principal, request)
        return expired(request.custom_id)

    async def _take(self, part: Part) -> Part:
        """Add the oldest line's answer to a part; the part to go on with."""
        answer = await self._window.oldest()
        if answer is None:
            part.has_gap = True
        # What is behind a gap would be answered twice, unless nobody goes on.
        elif not part.has_gap or self._cancelled:
            part.add(answer)
        now = time.monotonic()
        if part.has_gap or not part.is_whole(now):
            return part
        await self._write(part)
        return Part(self._batch.progress.next_line, now)

    async def _write(self, part: Part) -> None:
        if not part.header.lines:
            return
        if not await self._parts.write(part):
            raise LeaseLostError
        await self._count(part.header)

    # finalizing and cancelling

    async def _finalize(self) -> None:
        """Join the parts into the output and the error file."""
        await self._count_written()
        batch, progress = self._batch, self._batch.progress
        if progress.completed and progress.output_file_id is None:
            progress.output_file_id = new_file_id()
        if progress.failed and progress.error_file_id is None:
            progress.error_file_id = new_file_id()
        await self._write_progress()
        try:
            for kind, file_id, lines in (
                ("output", progress.output_file_id, self._parts.output(progress.completed)),
                ("error", progress.error_file_id, self._parts.errors(progress.failed)),
            ):
                if file_id is not None:
                    name = f"{batch.id}_{kind}.jsonl"
                    seconds = batch.order.output_expires_seconds
                    await self._files.add_output(file_id, batch.principal, name, lines, seconds)
        except (PartsGoneError, FileNotFoundError):  # another gateway was here, and has removed them
            raise LeaseLostError from None
        if batch.status is Status.CANCELLING:
            await self._end(Status.CANCELLED)
        else:
            await self._end(Status.EXPIRED if progress.expired else Status.COMPLETED)

    # all of them

    async def _input(self) -> AsyncIterator[bytes]:
        """The input file, chunk by chunk.

        Raises:
            FileNotFoundError: it was deleted or has expired.
        """
        batch = self._batch
        try:
            return self._files.read(await self._files.show(batch.principal, batch.order.input_file_id))
        except PenstockError as err:
            if err.status == 404:
                raise FileNotFoundError from None
            raise

    async def _count_written(self) -> None:
        """Count the parts that were written and not counted before the work was interrupted."""
        while header := await self._parts.header(self._batch.progress.next_line):
            await self._count(header)

    async def _count(self, header: PartHeader) -> None:
        progress = self._batch.progress
        progress.completed += header.completed
        progress.failed += header.failed
        progress.expired |= header.expired
        progress.usage += header.usage
        progress.next_line += header.lines
        await self._write_progress()

    async def _write_progress(self) -> None:
        if not await self._batches.write_progress(self._batch):
            raise LeaseLostError

    async def _fail(self, errors: list[BatchError]) -> None:
        self._batch.progress.errors = errors
        await self._end(Status.FAILED)

    async def _end(self, status: Status) -> None:
        self._batch.progress.ended = time.time()
        if await self._batches.move(self._batch, status):
            await self._parts.delete()


def _file_is_gone() -> BatchError:
    text = "The input file was deleted or has expired; upload it again and make a new batch."
    return BatchError("input_file_gone", text, param="input_file_id")
