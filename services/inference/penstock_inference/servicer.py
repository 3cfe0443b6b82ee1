"""The gRPC edge: translates the messages of the Open Inference Protocol v2 into calls of the pod and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import grpc
import structlog

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.model_metadata import model_metadata
from penstock_common.tensors import input_arrays
from penstock_common.version import VERSION
from penstock_inference.engine.message import Message
from penstock_inference.engine.pod_refusal import ANOTHER_POD, PodRefusalError
from penstock_inference.infer_response import infer_response
from penstock_inference.metrics import count_unknown_answer
from penstock_inference.tracing import describe_span
from penstock_inference.versions.hosted import HostedVersion, State
from penstock_inference.versions.lookup import VersionLookup
from penstock_inference.versions.reconciler import Reconciler

log = structlog.get_logger()
T = TypeVar("T")

#: The time of a message whose caller sets no deadline.
_DEFAULT_SECONDS = 60.0

#: How much before this side's deadline a caller may give up because of its own, which began earlier.
_EARLY_SECONDS = 0.05

#: Metadata of a message that names the principal whose turn it takes.
_PRINCIPAL = "penstock-principal"
#: Metadata of a message with how many pods Envoy has sent it to, this one included.
_ATTEMPTS = "x-envoy-attempt-count"

Context = grpc.aio.ServicerContext[pb.ModelInferRequest, pb.ModelInferResponse]


class Servicer(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves the versions on this pod.

    Attributes:
        draining: set it to True when the pod leaves; ``ServerReady`` is false from then on.
    """

    def __init__(self, reconciler: Reconciler, versions: VersionLookup) -> None:
        self._reconciler = reconciler
        self._versions = versions
        self.draining = False

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._reconciler.synced.is_set() and not self.draining)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self._versions.model_ready(request.name, request.version))

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="penstock", version=VERSION, extensions=["model_repository"])

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        try:
            version = (await self._versions.find(request.name, request.version)).version
        except PenstockError as err:
            await _refuse(context, err)
            return pb.ModelMetadataResponse()
        return pb.ModelMetadataResponse(**model_metadata(version.model, str(version.version), version.manifest))

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        describe_span(request)
        seconds = context.time_remaining()
        try:
            if seconds is not None:  # gRPC cancels this call at its deadline
                return await self._infer(request, time.monotonic() + seconds, _sender(context))
            deadline = time.monotonic() + _DEFAULT_SECONDS
            return await _until(deadline, self._infer(request, deadline, _sender(context)))
        except PenstockError as err:
            await _refuse(context, err)
            return pb.ModelInferResponse()

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer one message after the other; an error ends the answer to its own message only."""
        sender = _sender(context)
        async for request in request_iterator:
            deadline = time.monotonic() + _DEFAULT_SECONDS
            async with aclosing(self._stream(request, deadline, sender)) as responses:
                try:
                    while (response := await _until(deadline, anext(responses, None))) is not None:
                        yield pb.ModelStreamInferResponse(infer_response=response)
                except PenstockError as err:
                    empty = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
                    yield pb.ModelStreamInferResponse(error_message=err.detail, infer_response=empty)

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        entries = [
            pb.RepositoryIndexResponse.ModelIndex(name=name, version=str(version), state=state, reason=reason)
            for name, version, state, reason in self._versions.index()
            if state is State.READY or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=entries)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        name = request.model_name or request.repository_name
        await self._reconciler.load_model(name)
        if not self._versions.model_ready(name):
            await _refuse(context, PenstockError(404, "unknown-model", f"Model {name!r} could not be loaded here."))
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        name = request.model_name or request.repository_name
        await self._reconciler.unload_model(name)
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)

    async def _infer(self, request: pb.ModelInferRequest, deadline: float, sender: _Sender) -> pb.ModelInferResponse:
        """Return the single answer to a message. Raises only ``PenstockError``."""
        with _counted(request, deadline) as call:
            call.hosted = await self._versions.find(request.model_name, request.model_version)
            outputs = await call.hosted.engine.submit(Message(input_arrays(request), deadline, *sender))
            return infer_response(request, call.hosted.version, outputs)

    async def _stream(
        self, request: pb.ModelInferRequest, deadline: float, sender: _Sender
    ) -> AsyncGenerator[pb.ModelInferResponse, None]:
        """Yield the answers to a message as they come. Raises only ``PenstockError``."""
        with _counted(request, deadline) as call:
            call.hosted = await self._versions.find(request.model_name, request.model_version)
            async for outputs in call.hosted.engine.submit(Message(input_arrays(request), deadline, *sender)):
                yield infer_response(request, call.hosted.version, outputs)


class _Sender(NamedTuple):
    """What the metadata say of a message's sender.

    Attributes:
        principal: whose message it is; empty if the caller does not say, or bundles those of several.
        retried: whether Envoy has sent it to another pod before.
    """

    principal: str = ""
    retried: bool = False


def _sender(context: Context) -> _Sender:
    principal, retried = "", False
    for key, value in context.invocation_metadata() or ():
        if key == _PRINCIPAL:
            principal = str(value)
        elif key == _ATTEMPTS:
            retried = value != "1"
    return _Sender(principal, retried)


@dataclass(slots=True)
class _Call:
    """A message that is being answered; ``hosted`` is None until its version is found."""

    hosted: HostedVersion | None = None


@contextmanager
def _counted(request: pb.ModelInferRequest, deadline: float) -> Iterator[_Call]:
    """Count a message by the status it ends with; log an unexpected exception and raise 500 ``model-failed`` instead."""
    call = _Call()
    code = "OK"
    try:
        yield call
    except PenstockError as err:
        code = err.grpc_code.name
        raise
    except (asyncio.CancelledError, GeneratorExit):
        code = "CANCELLED" if time.monotonic() < deadline - _EARLY_SECONDS else "DEADLINE_EXCEEDED"
        raise
    except Exception:
        code = "INTERNAL"
        number = request.model_version if call.hosted is None else call.hosted.version.version
        log.exception("model failed", model=request.model_name, version=str(number))
        raise PenstockError(500, "model-failed", f"Model {request.model_name!r} failed on this input.") from None
    finally:
        if call.hosted is None:
            count_unknown_answer(code)
        else:
            call.hosted.metrics.count_answer(code)


async def _until(deadline: float, result: Awaitable[T]) -> T:
    """Await ``result``, but not longer than until ``deadline``.

    Raises:
        PenstockError: 504 ``deadline-exceeded``.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await result
    except TimeoutError:
        raise PenstockError(504, "deadline-exceeded", "The model did not answer in time.") from None


async def _refuse(context: Context, err: PenstockError) -> None:
    """Send an error as the answer; the handler then returns any response, which is not sent.

    Only ``abort`` sends it in the headers of the response, where Envoy reads that it shall ask another pod.
    gRPC keeps the exception that ``abort`` raises, and would keep the request with the frames of its traceback.
    """
    trailing: tuple[tuple[str, str], ...] = (("penstock-code", err.code),)
    if isinstance(err, PodRefusalError):
        trailing += (ANOTHER_POD,)
    try:
        await context.abort(err.grpc_code, err.detail, trailing_metadata=trailing)
    except grpc.aio.AbortError as aborted:
        aborted.__traceback__ = aborted.__context__ = None
