"""One call of ``ModelStreamInfer``: its messages, and the responses to each as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from penstock_common.contract import inference_pb2 as pb
from penstock_common.errors import PenstockError
from penstock_common.tensors import input_arrays
from penstock_inference.calls import DEFAULT_SECONDS, Sender, counted, until
from penstock_inference.engine.message import Message
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.infer_response import infer_response
from penstock_inference.runners.process_streams import Piece
from penstock_inference.versions.hosted import HostedVersion
from penstock_inference.versions.lookup import VersionLookup

#: The time of a stream whose caller sets no deadline.
DEFAULT_STREAM_SECONDS = 600.0
#: Messages of one call that are answered at once; further ones are not read.
_MOST_AT_ONCE = 64

Response = pb.ModelInferResponse | PenstockError
Answered = tuple[pb.ModelInferRequest, Response]


class StreamCall:
    """Answers the messages of one call.

    Args:
        versions: finds the version of each message.
        deadline: of the call; None if it has none, and each message then has its own.
    """

    def __init__(self, versions: VersionLookup, sender: Sender, deadline: float | None) -> None:
        self._versions = versions
        self._sender = sender
        self._deadline = deadline
        # One response at a time: a caller that is slow to read stops the models.
        self._responses: asyncio.Queue[Answered | None] = asyncio.Queue(1)
        self._room = asyncio.Semaphore(_MOST_AT_ONCE)
        self._taking: asyncio.Task[None] | None = None
        self._waits = False  # for the caller's next message
        self._leaving = False
        self._cut_off = False

    def take_no_more(self) -> None:
        """Read no further messages: the call ends once those before are answered, and says so if it had not ended."""
        self._leaving = True
        if self._taking is not None and self._waits:
            self._cut_off = True
            self._taking.cancel()

    async def responses(self, requests: AsyncIterator[pb.ModelInferRequest]) -> AsyncGenerator[Answered, None]:
        """Yield each response with the message that it answers; closing it withdraws all messages.

        Raises:
            PodRefusalError: 429 ``pod-leaving`` after the last response, if the call's messages had not ended by the time
                of ``take_no_more``.
        """
        reader = asyncio.create_task(self._read(requests))
        try:
            while (answered := await self._responses.get()) is not None:
                yield answered
            await reader
        finally:
            reader.cancel()
            await asyncio.wait([reader])

    async def _read(self, requests: AsyncIterator[pb.ModelInferRequest]) -> None:
        """Begin the answers to all messages, and wait for them."""
        try:
            async with asyncio.TaskGroup() as answers:
                self._taking = answers.create_task(self._take(requests, answers))
            if self._cut_off:
                raise pod_leaving()
        except Exception:
            await self._responses.put(None)
            raise
        await self._responses.put(None)

    async def _take(self, requests: AsyncIterator[pb.ModelInferRequest], answers: asyncio.TaskGroup) -> None:
        """Begin the answer to each message as it comes."""
        while True:
            self._waits = True
            request = await anext(requests, None)
            self._waits = False
            if request is None:
                return
            if self._leaving:
                self._cut_off = True
                return
            await self._room.acquire()
            answer = answers.create_task(self._answer(request, next_may_begin := asyncio.Event()))
            answer.add_done_callback(lambda _: self._room.release())
            await next_may_begin.wait()

    async def _answer(self, request: pb.ModelInferRequest, next_may_begin: asyncio.Event) -> None:
        """Put the responses to one message into the queue."""
        try:
            hosted = await self._find(request)
            if hosted.version.manifest.stream:
                next_may_begin.set()
            async with aclosing(self._stream(request, hosted)) as responses:
                async for response in responses:
                    await self._responses.put((request, response))
        except PenstockError as err:
            await self._responses.put((request, err))
        finally:
            next_may_begin.set()

    async def _find(self, request: pb.ModelInferRequest) -> HostedVersion:
        try:
            return await self._versions.find(request.model_name, request.model_version)
        except PenstockError:
            with counted(request, 0.0):
                raise

    async def _stream(
        self, request: pb.ModelInferRequest, hosted: HostedVersion
    ) -> AsyncGenerator[pb.ModelInferResponse, None]:
        """Yield the responses to one message. Raises only ``PenstockError``."""
        seconds = DEFAULT_STREAM_SECONDS if hosted.version.manifest.stream else DEFAULT_SECONDS
        deadline = time.monotonic() + seconds if self._deadline is None else self._deadline
        with counted(request, deadline, hosted):
            message = Message(input_arrays(request), deadline, *self._sender)
            async with aclosing(hosted.engine.stream(message)) as pieces:
                while True:
                    piece = await until(deadline, anext(pieces))
                    if piece.outputs is not None or _wants_empty(request):
                        yield _response(request, hosted, piece)
                    if piece.last:
                        return


def pod_leaving() -> PodRefusalError:
    return PodRefusalError(429, "pod-leaving", "This pod takes no more messages; open another stream.")


def _response(request: pb.ModelInferRequest, hosted: HostedVersion, piece: Piece) -> pb.ModelInferResponse:
    version = hosted.version
    if piece.outputs is None:
        response = pb.ModelInferResponse(
            model_name=request.model_name, model_version=str(version.version), id=request.id
        )
    else:
        response = infer_response(request, version, piece.outputs)
    response.parameters["triton_final_response"].bool_param = piece.last
    return response


def _wants_empty(request: pb.ModelInferRequest) -> bool:
    return bool(request.parameters["triton_enable_empty_final_response"].bool_param)
