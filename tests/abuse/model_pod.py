"""Models that take up to three million numbers, a text or an image, and a pod that answers for each at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import AliasTarget, Model, Version
from tests.installation import free_ports

NUMBERS, TEXTS, IMAGES = "numbers", "texts", "images"


def _model(name: str, field: Field) -> Model:
    manifest = Manifest(Format.ONNX, "m.onnx", Task.REGRESSION, [field], [Output("y", "FP32")])
    version = Version(name, 1, manifest, [], "2026-01-01T00:00:00Z")
    return Model(name, 1, {1: version}, {"production": [AliasTarget(1)]})


MODELS = [
    _model(NUMBERS, Field("x", FieldKind.TENSOR, "FP32", [-1], max_elements=3_000_000)),
    _model(TEXTS, Field("text", FieldKind.TEXT, "BYTES", max_length=5000)),
    _model(IMAGES, Field("image", FieldKind.IMAGE, "BYTES")),
]


class _Pod(inference_pb2_grpc.GRPCInferenceServiceServicer):
    def ModelReady(self, request: pb.ModelReadyRequest, context: grpc.ServicerContext) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=True)

    def ModelInfer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        rows = request.inputs[0].shape[0]
        response = pb.ModelInferResponse(raw_output_contents=[bytes(4 * rows)])
        response.outputs.add(name="y", datatype="FP32", shape=[rows])
        return response


@contextmanager
def running_pod() -> Iterator[str]:
    """The pod's address, until the block ends."""
    (port,) = free_ports(1)
    pod = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Pod(), pod)
    pod.add_insecure_port(f"127.0.0.1:{port}")
    pod.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        pod.stop(None).wait()
