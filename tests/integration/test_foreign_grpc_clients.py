"""Triton's and KServe's own gRPC clients work with our pods, directly and through Envoy.

Each client runs in a process of its own, because their generated code and ours define the
same protobuf messages, which a process can register only once.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.installation import Installation

TRITON = """
import sys
import numpy as np
import tritonclient.grpc as triton
client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("spam") and not client.is_model_ready("nosuch")
metadata = client.get_model_metadata("spam")
assert (metadata.inputs[0].name, metadata.inputs[0].datatype, list(metadata.inputs[0].shape)) == ("text", "BYTES", [-1])
tensor = triton.InferInput("text", [2, 1], "BYTES")
tensor.set_data_from_numpy(np.array([[b"WINNER!! Claim your free prize now"], [b"See you at lunch tomorrow?"]], dtype=object))
result = client.infer("spam", [tensor], request_id="r1")
assert result.as_numpy("probabilities").argmax(axis=1).tolist() == [1, 0]
assert result.get_response().id == "r1" and result.get_response().model_version == "1"
models = {m.name: m.state for m in client.get_model_repository_index().models}
assert models["spam"] == "READY", models
answers = []
client.start_stream(lambda result, error: answers.append((result, error)))
client.async_stream_infer("spam", [tensor])
client.stop_stream()
assert answers[0][1] is None and answers[0][0].as_numpy("probabilities").shape == (2, 2)
try:
    client.infer("nosuch", [tensor])
except triton.InferenceServerException as err:
    assert "NOT_FOUND" in err.status(), err
else:
    raise AssertionError("an unknown model was answered")
if sys.argv[2] == "worker":
    client.load_model("spam")
else:
    try:
        client.load_model("spam")
    except triton.InferenceServerException as err:
        assert "PERMISSION_DENIED" in err.status() and "call the pod itself" in err.message(), err
    else:
        raise AssertionError("one pod at random loaded a model")
"""

KSERVE = """
import sys
import grpc
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb, grpc_predict_v2_pb2_grpc
through = sys.argv.pop(2)
stub = grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv.pop(1)))
assert stub.ServerLive(pb.ServerLiveRequest()).live and stub.ServerReady(pb.ServerReadyRequest()).ready
assert stub.ModelReady(pb.ModelReadyRequest(name="spam")).ready
request = pb.ModelInferRequest(model_name="spam")
tensor = request.inputs.add(name="text", datatype="BYTES", shape=[1])
tensor.contents.bytes_contents.append(b"WINNER!! Claim your free prize now")
answer = stub.ModelInfer(request, timeout=10)
assert answer.outputs[0].contents.fp32_contents[1] > 0.9, answer
if through == "worker":
    assert stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="spam")).isLoaded
"""


@pytest.mark.parametrize("script", [TRITON, KSERVE], ids=["tritonclient", "kserve"])
@pytest.mark.parametrize("through", ["worker", "envoy"])
def test_a_foreign_client_works_unchanged(installation: Installation, script: str, through: str) -> None:
    """Health, metadata, inference with raw and typed contents, streams and the repository calls.

    Through Envoy, loading is refused with the reason: it would be done by one pod at random.
    """
    worker = f"unix:{installation.socket('worker-1')}"
    address = worker if through == "worker" else installation.envoy_address
    command = [sys.executable, "-c", script, address, through]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
