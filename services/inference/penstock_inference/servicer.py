"""The gRPC edge: translates the messages of the Open Inference Protocol v2 into calls of the pod and back."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.model_metadata import model_metadata
from penstock_common.tensors import input_arrays
from penstock_common.version import VERSION
from penstock_inference.calls import DEFAULT_SECONDS, Sender, counted, sender_of, until
from penstock_inference.engine.message import Message
from penstock_inference.engine.pod_refusal import ANOTHER_POD, PodRefusalError
from penstock_inference.infer_response import infer_response
from penstock_inference.stream_call import StreamCall, pod_leaving
from penstock_inference.tracing import describe_span
from penstock_inference.versions.hosted import State
from penstock_inference.versions.lookup import VersionLookup
from penstock_inference.versions.reconciler import Reconciler

Context = grpc.aio.ServicerContext[pb.ModelInferRequest, pb.ModelInferResponse]


class Servicer(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves the versions on this pod.

    Attributes:
        draining: set it to True when the pod leaves; ``ServerReady`` is false from then on.
    """

    def __init__(self, reconciler: Reconciler, versions: VersionLookup) -> None:
        self._reconciler = reconciler
        self._versions = versions
        self._streams: set[StreamCall] = set()
        self._takes_streams = True
        self.draining = False

    def take_no_more(self) -> None:
        """Begin no stream and read no further message of one; those that were read are answered."""
        self._takes_streams = False
        for stream in self._streams:
            stream.take_no_more()

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
                return await self._infer(request, time.monotonic() + seconds, sender_of(context))
            deadline = time.monotonic() + DEFAULT_SECONDS
            return await until(deadline, self._infer(request, deadline, sender_of(context)))
        except PenstockError as err:
            await _refuse(context, err)
            return pb.ModelInferResponse()

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Answer the messages of a stream, as Triton does.

        A message to a model that streams begins at once, beside those before it, and its chunks carry its id. Messages
        to other models are answered one after the other, in their order. Each response says in
        ``triton_final_response`` whether it is the last to its message; if a message asks for that with
        ``triton_enable_empty_final_response``, an end that comes alone is a response too.

        An error is a response to its own message only. If the call's metadata has ``triton_grpc_error: true``, it ends
        the call instead, with the error's status.
        """
        sender, seconds = sender_of(context), context.time_remaining()
        by_status = ("triton_grpc_error", "true") in (context.invocation_metadata() or ())
        stream = StreamCall(self._versions, sender, None if seconds is None else time.monotonic() + seconds)
        self._streams.add(stream)
        try:
            if not self._takes_streams:
                raise pod_leaving()
            async with aclosing(stream.responses(request_iterator)) as responses:
                async for request, response in responses:
                    if isinstance(response, pb.ModelInferResponse):
                        yield pb.ModelStreamInferResponse(infer_response=response)
                    elif by_status:
                        raise response
                    else:
                        empty = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
                        yield pb.ModelStreamInferResponse(error_message=response.detail, infer_response=empty)
        except PenstockError as err:
            await _refuse(context, err)
        finally:
            self._streams.discard(stream)

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

    async def _infer(self, request: pb.ModelInferRequest, deadline: float, sender: Sender) -> pb.ModelInferResponse:
        """Return the single answer to a message. Raises only ``PenstockError``."""
        with counted(request, deadline) as call:
            call.hosted = await self._versions.find(request.model_name, request.model_version)
            outputs = await call.hosted.engine.submit(Message(input_arrays(request), deadline, *sender))
            return infer_response(request, call.hosted.version, outputs)


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
