"""The decoder processes of a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from asyncio.subprocess import PIPE, Process

import msgspec
import structlog

from penstock_common.errors import PenstockError
from penstock_common.fair_queue import deadline_exceeded
from penstock_gateway.decoders.messages import LENGTH, Job, Refusal, Result, pack
from penstock_gateway.signature.rows import Rows

logger = structlog.get_logger()

#: Seconds after which a process that is still at work on one body is killed; 8 MB take less than one on a core.
_MOST_SECONDS = 20.0
_RESULT = msgspec.msgpack.Decoder(Result)
#: What a decoder process may know of the gateway's environment, which has secrets in it.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "TZ")


class DecoderPool:
    """Starts a process when it is first needed, and another one for one that has died or was killed.

    Args:
        module: what a process runs; it reads jobs and writes results as ``messages`` says.
        size: processes at most; each decodes one body at a time.
    """

    def __init__(self, module: str, size: int) -> None:
        self._module = module
        self._free: asyncio.LifoQueue[Process | None] = asyncio.LifoQueue()
        for _ in range(size):
            self._free.put_nowait(None)
        self._jobs: set[asyncio.Task[tuple[Rows, bytes]]] = set()

    async def decode(self, job: Job, body: bytes, deadline: float) -> tuple[Rows, bytes]:
        """Decode a body; who stops waiting leaves the process at work, which costs less than a new one.

        Args:
            deadline: on ``time.monotonic``'s clock.

        Returns:
            The rows, and what else the protocol read, in MessagePack.

        Raises:
            PenstockError: 504 ``deadline-exceeded``, 413 ``body-too-large``, and what the decoding raises.
        """
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                process = await self._free.get()
                task = asyncio.create_task(self._work(process, job, body))
                self._jobs.add(task)
                task.add_done_callback(self._finished)
                return await asyncio.shield(task)
        except TimeoutError:
            raise deadline_exceeded() from None

    async def close(self) -> None:
        """Kill all processes."""
        for task in self._jobs:
            task.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        while not self._free.empty():
            process = self._free.get_nowait()
            if process is not None:
                await _kill(process)

    def _finished(self, task: asyncio.Task[tuple[Rows, bytes]]) -> None:
        self._jobs.discard(task)
        if not task.cancelled():
            task.exception()  # is known to whoever still waits

    async def _work(self, process: Process | None, job: Job, body: bytes) -> tuple[Rows, bytes]:
        """Give a job to ``process``, or to a new one; one of them is free afterwards."""
        try:
            result = None
            if process is not None:
                result = await _exchange(process, job, body)
                if result is None:  # it may have died before this body came
                    await _kill(process)
                    process = None
            if result is None:
                process = await self._start()
                result = await _exchange(process, job, body)
            if result is None:
                raise _too_much()
            head, tensors = result
        except (TimeoutError, PenstockError, asyncio.CancelledError) as err:
            logger.warning("a decoder process is killed", error=repr(err))
            if process is not None:
                await _kill(process)
                process = None
            if isinstance(err, TimeoutError):
                raise _too_much() from None
            raise
        finally:
            self._free.put_nowait(process)
        if head.refusal is not None:
            raise _from_process(head.refusal)
        return Rows(tensors, head.count, head.is_list, head.shapes), head.request

    async def _start(self) -> Process:
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # A session of its own: Ctrl-C in a terminal is for the gateway, whose end it sees as the end of its input.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", self._module, stdin=PIPE, stdout=PIPE, env=environment, start_new_session=True
        )


async def _exchange(process: Process, job: Job, body: bytes) -> tuple[Result, list[bytes]] | None:
    """The result of a job and its tensors; None if the process has died.

    Raises:
        TimeoutError: it has taken too long.
    """
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            process.stdin.writelines(pack(job, [body]))
            (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
            result = _RESULT.decode(await process.stdout.readexactly(length))
            return result, [await process.stdout.readexactly(size) for size in result.sizes]
    except TimeoutError:  # an OSError too
        raise
    except (OSError, asyncio.IncompleteReadError):
        return None


async def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _from_process(refusal: Refusal) -> PenstockError:
    return PenstockError(refusal.status, refusal.code, refusal.detail, headers=refusal.headers, extra=refusal.extra)


def _too_much() -> PenstockError:
    text = "The body takes too much time or memory to decode; send fewer rows, or tensors as binary data on /v2."
    return PenstockError(413, "body-too-large", text, extra={"bound": "decoder"})
