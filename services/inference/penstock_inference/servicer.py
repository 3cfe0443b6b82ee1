"""The transport: Open Inference Protocol v2 messages in and out of the domain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

import grpc
import structlog
from opentelemetry import propagate, trace

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.errors import PenstockError
from penstock_common.telemetry import tracer, tracing_enabled
from penstock_common.tensors import CONTENTS_FIELDS, input_arrays, to_raw
from penstock_inference.engine.scheduler import Outputs
from penstock_inference.metrics import REQUESTS
from penstock_inference.versions.reconciler import Repository, Served

log = structlog.get_logger()

#: For callers that set no deadline.
_LONGEST = 60.0

_UNTRACED = nullcontext()

Context = grpc.aio.ServicerContext[pb.ModelInferRequest, pb.ModelInferResponse]


class Servicer(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """The service around a pod's loaded versions."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.draining = False

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._repository.synced.is_set() and not self.draining)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self._repository.model_ready(request.name, request.version))

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="penstock", version="0.1.0", extensions=["model_repository"])

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        try:
            served = await self._repository.find(request.name, request.version)
        except PenstockError as err:
            await _abort(context, err)
        manifest = served.version.manifest
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=request.name,
            versions=[str(served.version.version)],
            platform=f"penstock_{manifest.format.replace('-', '_')}",
            inputs=[tensor(name=f.name, datatype=f.datatype, shape=[-1, *f.shape]) for f in manifest.inputs],
            outputs=[tensor(name=o.name, datatype=o.datatype, shape=[-1, *o.shape]) for o in manifest.outputs],
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        seconds = context.time_remaining()
        try:
            with _span(request, context) if tracing_enabled() else _UNTRACED:
                if seconds is None:
                    return await self._infer_in_time(request)
                return await self._infer(request, seconds)  # gRPC cancels it at its deadline
        except PenstockError as err:
            await _abort(context, err)

    async def ModelStreamInfer(
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Each message is answered in its turn; an error is that message's alone."""
        async for request in request_iterator:
            try:
                answer = await self._infer_in_time(request)
                yield pb.ModelStreamInferResponse(infer_response=answer)
            except PenstockError as err:
                empty = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
                yield pb.ModelStreamInferResponse(error_message=err.detail, infer_response=empty)

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Context) -> pb.RepositoryIndexResponse:
        entry = pb.RepositoryIndexResponse.ModelIndex
        rows = [
            entry(name=name, version=version, state=state, reason=reason)
            for name, version, state, reason in self._repository.index()
            if not request.ready or state == "READY"
        ]
        return pb.RepositoryIndexResponse(models=rows)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        name = request.model_name or request.repository_name
        if not await self._repository.load(name):
            await _abort(context, PenstockError(404, "unknown-model", f"Model {name!r} could not be loaded here."))
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        name = request.model_name or request.repository_name
        await self._repository.unload(name)
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)

    async def _infer_in_time(self, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
        """``_infer`` for a message that nobody else ends."""
        try:
            async with asyncio.timeout(_LONGEST):
                return await self._infer(request, _LONGEST)
        except TimeoutError:
            raise PenstockError(504, "deadline-exceeded", "The model did not answer in time.") from None

    async def _infer(self, request: pb.ModelInferRequest, seconds: float) -> pb.ModelInferResponse:
        """Raises: PenstockError of any kind; what else went wrong is logged and told as 500."""
        deadline = time.monotonic() + seconds
        code = "OK"
        version = request.model_version
        known = False
        try:
            served = await self._repository.find(request.model_name, request.model_version)
            version, known = str(served.version.version), True
            assert served.model is not None and served.batcher is not None
            inputs, rows = served.model.check(input_arrays(request))
            outputs = await served.batcher.submit(inputs, rows, deadline)
            return _response(request, served, outputs, rows)
        except PenstockError as err:
            code = err.grpc_code.name
            raise
        except asyncio.CancelledError:
            code = "CANCELLED" if time.monotonic() < deadline else "DEADLINE_EXCEEDED"
            raise
        except Exception:
            code = "INTERNAL"
            log.exception("model failed", model=request.model_name, version=version)
            raise PenstockError(500, "model-failed", f"Model {request.model_name!r} failed on this input.") from None
        finally:
            # Names that nobody serves come from outside: they must not grow the series without bound.
            REQUESTS.labels(request.model_name if known else "", version if known else "", code).inc()


def _response(request: pb.ModelInferRequest, served: Served, outputs: Outputs, rows: int) -> pb.ModelInferResponse:
    """The answer in the form of the question: raw contents for raw contents, typed for typed."""
    response = pb.ModelInferResponse(
        model_name=request.model_name, model_version=str(served.version.version), id=request.id
    )
    wanted = {output.name for output in request.outputs}
    unknown = wanted - {spec.name for spec in served.version.manifest.outputs}
    if unknown:
        raise PenstockError(422, "unknown-output", f"The model has no output {sorted(unknown)[0]!r}.")
    raw = bool(request.raw_input_contents)
    for spec, array in zip(served.version.manifest.outputs, outputs, strict=True):
        if wanted and spec.name not in wanted:
            continue
        output = response.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        field = CONTENTS_FIELDS.get(spec.datatype)
        if raw or field is None:
            response.raw_output_contents.append(to_raw(array, spec.datatype))
        else:
            getattr(output.contents, field).extend(array.ravel().tolist())
    return response


def _span(request: pb.ModelInferRequest, context: Context) -> AbstractContextManager[object]:
    carrier = {k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)}
    return tracer().start_as_current_span(
        "ModelInfer",
        context=propagate.extract(carrier),
        kind=trace.SpanKind.SERVER,
        attributes={"model": request.model_name, "version": request.model_version},
    )


async def _abort(context: Context, err: PenstockError) -> NoReturn:
    await context.abort(err.grpc_code, err.detail, trailing_metadata=(("penstock-code", err.code),))
    raise AssertionError("abort always raises")
