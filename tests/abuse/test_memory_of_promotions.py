"""A pod gives back the memory of the versions that promotions take away from it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import AliasTarget
from tests.abuse.flat_memory import MB, FlatMemory
from tests.installation import ROOT, free_ports, until

PROMOTIONS = 200
#: Until the allocator has what two versions at once take.
WARM_UP = 40
#: Each comes back long after it was unloaded.
VERSIONS = 20
MODEL_BYTES = 4 * MB
#: Ten models, of nearly two hundred that are loaded and unloaded in between.
MOST_GROWTH = 10 * MODEL_BYTES

MANIFEST = """
format: onnx
file: model.onnx
task: tensor
inputs: [{name: x, kind: tensor, datatype: FP32, shape: [1024]}]
outputs: [{name: y, datatype: FP32, shape: [1024]}]
"""


def write_model(folder: Path, number: int) -> None:
    """A matrix of 4 MB, of its own for each number."""
    weights = np.full((1024, 1024), number, np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "matrix",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 1024])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    (folder / "model.yaml").write_text(MANIFEST)


@contextmanager
def service(name: str, log: Path, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        command = [sys.executable, "-m", f"penstock_{name}"]
        process = subprocess.Popen(command, env=os.environ | settings, cwd=ROOT, stdout=out, stderr=out)
    try:
        yield process
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        process.terminate()
        process.wait(60)


class Pod:
    """A running pod, and what it says of its versions."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.pid = process.pid
        self.log = log
        self._stub = inference_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))

    def loaded(self) -> list[int]:
        """The numbers of the versions that are ready, in order."""
        index = self._stub.RepositoryIndex(pb.RepositoryIndexRequest(), wait_for_ready=True, timeout=60)
        return sorted(int(model.version) for model in index.models if model.state == "READY")

    def unloaded(self) -> int:
        """How many versions have been unloaded, and their processes ended."""
        return self.log.read_text().count('"unloaded"')

    def answer(self, version: int) -> float:
        """The first element of its answer to a row of ones: 1024 times its number."""
        request = pb.ModelInferRequest(model_name="m", model_version=str(version))
        request.inputs.add(name="x", datatype="FP32", shape=[1, 1024])
        request.raw_input_contents.append(np.ones(1024, np.float32).tobytes())
        response = self._stub.ModelInfer(request, timeout=60)
        return float(np.frombuffer(response.raw_output_contents[0], np.float32)[0])


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[tuple[Pod, str]]:
    """A pod that unloads at once what no alias names, and the URL of its registry."""
    registry_port, port, metrics_port = free_ports(3)
    url = f"http://127.0.0.1:{registry_port}"
    with ExitStack() as running:
        running.enter_context(
            service(
                "registry",
                tmp_path / "registry.log",
                PENSTOCK_REGISTRY_PORT=str(registry_port),
                PENSTOCK_REGISTRY_STORE_URL=str(tmp_path / "store"),
                PENSTOCK_REGISTRY_ALLOW_ANONYMOUS="true",
            )
        )
        until(lambda: answers(f"{url}/readyz"), "the registry")
        process = running.enter_context(
            service(
                "inference",
                tmp_path / "pod.log",
                PENSTOCK_INFERENCE_PORT=str(port),
                PENSTOCK_INFERENCE_METRICS_PORT=str(metrics_port),
                PENSTOCK_INFERENCE_REGISTRY_URL=url,
                PENSTOCK_INFERENCE_CACHE_DIR=str(tmp_path / "cache"),
                PENSTOCK_INFERENCE_RETAIN_SECONDS="0",
                PENSTOCK_INFERENCE_DRAIN_SECONDS="0",
            )
        )
        yield Pod(process, f"127.0.0.1:{port}", tmp_path / "pod.log"), url


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(600)
async def test_two_hundred_promotions_leave_memory_flat(pod: tuple[Pod, str], tmp_path: Path) -> None:
    """Each promotion loads a model of 4 MB, which answers, and unloads the one before."""
    running, url = pod
    memory = FlatMemory("promotions", running.pid)
    async with RegistryClient(url) as registry:
        for number in range(1, VERSIONS + 1):
            write_model(tmp_path / str(number), number)
            await registry.publish("m", tmp_path / str(number), metrics={}, lineage={})
        for promotion in range(-WARM_UP, PROMOTIONS):
            number = promotion % VERSIONS + 1
            until(lambda number=number: number not in running.loaded(), "the version to be gone")  # type: ignore[misc]
            await registry.set_alias("m", "production", [AliasTarget(number)])
            until(lambda number=number: number in running.loaded(), "the version to be loaded")  # type: ignore[misc]
            assert running.answer(number) == 1024 * number
            if promotion > 0 and promotion % 10 == 0:
                # The index leaves a version out before its process has ended, which would count in the sample.
                until(lambda before=promotion + WARM_UP: running.unloaded() == before, "the others to be unloaded")  # type: ignore[misc]
                memory.sample()
    memory.check(MOST_GROWTH)
