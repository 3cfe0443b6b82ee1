"""Shapes that vary, and models without a batch whose state the caller carries, from clients to a pod and back.

The clients are JSON on /v1 and Triton's over HTTP, through the gateway, and Triton's over gRPC, through Envoy. That one
runs in a process of its own, because its generated code and ours define the same protobuf messages.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import pytest
import torch
import tritonclient.http as triton
from torch import Tensor, nn

from tests.installation import Installation


class Grid(nn.Module):
    """For each grid its double and its sum; the rows come first."""

    def forward(self, grid: Tensor) -> dict[str, Tensor]:
        return {"doubled": grid * 2, "total": grid.sum(dim=[1, 2])}


class Steps(nn.Module):
    """A recurrent layer over one sequence of any length; the state goes in and comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(2, 3)

    def forward(self, x: Tensor, state: Tensor) -> dict[str, Tensor]:
        output, new = self.layer(x, state)
        return {"output": output, "state": new}


class Brain(nn.Module):
    """BF16 in and out: each value times three."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"tripled": x * torch.tensor(3, dtype=torch.bfloat16)}


class Tokens(nn.Module):
    """The mean of what the mask has, and each id doubled."""

    def forward(self, ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        mean = (ids * attention_mask).sum(dim=1) / attention_mask.sum(dim=1)
        return {"mean": mean, "doubled": ids * 2}


TOKENS = """
format: torchscript
file: model.pt
task: tensor
inputs:
  - name: ids
    kind: tensor
    datatype: INT64
    shape: [tokens]
    max_elements: 64
    pad: {axis: 0, value: 9, sizes: [4, 16]}
    mask: attention_mask
outputs:
  - {name: mean, datatype: FP32}
  - {name: doubled, datatype: INT64, shape: [tokens]}
examples: [{ids: [1, 2, 3]}, {ids: [4, 5, 6]}, {ids: [7]}]
"""
GRID = """
format: torchscript
file: model.pt
task: tensor
inputs:
  - {name: grid, kind: tensor, datatype: FP32, shape: [height, width], max_elements: 1000}
outputs:
  - {name: doubled, datatype: FP32, shape: [height, width]}
  - {name: total, datatype: FP32}
examples: [{grid: [[1, 2], [3, 4]]}, {grid: [[1, 0], [0, 4]]}, {grid: [[1, 2, 3]]}]
"""
BRAIN = """
format: torchscript
file: model.pt
task: tensor
inputs: [{name: x, kind: tensor, datatype: BF16, shape: [2]}]
outputs: [{name: tripled, datatype: BF16, shape: [2]}]
examples: [{x: [1, 2]}, {x: [0.1, -4]}, {x: [300, 0]}]
"""
STEPS = """
format: torchscript
file: model.pt
task: tensor
batch: false
inputs:
  - {name: x, kind: tensor, datatype: FP32, shape: [steps, 2]}
  - {name: state, kind: tensor, datatype: FP32, shape: [1, 3], required: false, default: [[0, 0, 0]]}
outputs:
  - {name: output, datatype: FP32, shape: [steps, 3]}
  - {name: state, datatype: FP32, shape: [1, 3]}
"""
GRPC = """
import sys
import ml_dtypes
import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1])


def ask(model, **arrays):
    tensors = []
    for name, array in arrays.items():
        tensors.append(triton.InferInput(name, list(array.shape), "BF16" if array.dtype.itemsize == 2 else "FP32"))
        tensors[-1].set_data_from_numpy(array)
    return client.infer(model, tensors)


assert [list(i.shape) for i in client.get_model_metadata("grid").inputs] == [[-1, -1, -1]]
for height, width in [(1, 5), (7, 3)]:
    grid = np.random.default_rng(0).normal(size=(2, height, width)).astype(np.float32)
    result = ask("grid", grid=grid)
    assert np.array_equal(result.as_numpy("doubled"), grid * 2)
    assert np.allclose(result.as_numpy("total"), grid.sum(axis=(1, 2)), atol=1e-5)

assert [list(i.shape) for i in client.get_model_metadata("steps").inputs] == [[-1, 2], [1, 3]]
x = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)
zero = np.zeros((1, 3), np.float32)
whole = ask("steps", x=x, state=zero).as_numpy("output")
first = ask("steps", x=x[:4], state=zero)
second = ask("steps", x=x[4:], state=first.as_numpy("state"))
assert np.allclose(np.concatenate([first.as_numpy("output"), second.as_numpy("output")]), whole, atol=1e-6)

tripled = ask("brain", x=np.array([[0.5, -7], [100, 0.25]], ml_dtypes.bfloat16)).as_numpy("tripled")
assert (tripled.dtype, tripled.tolist()) == (ml_dtypes.bfloat16, [[1.5, -21], [300, 0.75]])
"""


@pytest.fixture(scope="module", autouse=True)
def models(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The models in production."""
    torch.manual_seed(0)
    modules = [
        ("grid", Grid(), GRID),
        ("steps", Steps(), STEPS),
        ("tokens", Tokens(), TOKENS),
        ("brain", Brain(), BRAIN),
    ]
    for name, module, manifest in modules:
        folder: Path = tmp_path_factory.mktemp(name)
        torch.jit.script(module.eval()).save(folder / "model.pt")
        (folder / "model.yaml").write_text(manifest)
        asyncio.run(installation.serve(name, folder))


def predict(client: httpx.Client, model: str, row: Any) -> Any:
    answer = client.post(f"/v1/models/{model}/predict", json=row)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(client: triton.InferenceServerClient, key: str, model: str, **arrays: Any) -> triton.InferResult:
    tensors = []
    for name, array in arrays.items():
        tensors.append(triton.InferInput(name, list(array.shape), "BF16" if array.dtype.itemsize == 2 else "FP32"))
        tensors[-1].set_data_from_numpy(array)
    return client.infer(model, tensors, headers={"API-Key": key})


def test_callers_with_grids_of_different_sizes_get_their_own(client: httpx.Client) -> None:
    """A burst of many sizes at once: each answer has its caller's shape and values."""

    def one(size: int) -> None:
        grid = np.arange(size * 3, dtype=float).reshape(size, 3) + size
        outputs = predict(client, "grid", {"grid": grid.tolist()})["outputs"]
        assert outputs == {"doubled": (grid * 2).tolist(), "total": grid.sum()}

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, [1 + i % 7 for i in range(200)]))


def test_callers_with_texts_of_different_lengths_share_a_batch(client: httpx.Client) -> None:
    """Padding reaches neither the mean nor the shape of an answer, whoever else is in the batch."""

    def one(length: int) -> None:
        ids = [length + i for i in range(length)]
        outputs = predict(client, "tokens", {"ids": ids})["outputs"]
        assert outputs == {"mean": float(np.mean(ids)), "doubled": [2 * i for i in ids]}

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, [1 + i % 32 for i in range(200)]))


def test_a_grid_beyond_its_bound_is_refused(client: httpx.Client) -> None:
    """422 names the bound; ragged lists too are the client's fault."""
    for grid, says in [([[0] * 1001], "1,000 are allowed"), ([[1, 2], [3]], "must be nested lists")]:
        answer = client.post("/v1/models/grid/predict", json={"grid": grid})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
        assert says in answer.json()["detail"]


def test_state_goes_round_through_json(client: httpx.Client) -> None:
    """Step by step with the state of the answer before, as in one request; a list of rows is refused."""
    x = np.random.default_rng(2).normal(size=(6, 2)).round(3)
    whole = predict(client, "steps", {"x": x.tolist()})["outputs"]["output"]
    answer: dict[str, Any] = {}
    parts = []
    for step in x:
        state = {"state": answer["state"]} if answer else {}
        answer = predict(client, "steps", {"x": [step.tolist()]} | state)["outputs"]
        parts += answer["output"]
    assert np.allclose(parts, whole, atol=1e-5)
    refused = client.post("/v1/models/steps/predict", json=[{"x": [[1, 2]]}])
    assert refused.status_code == 422
    assert "one object a request" in refused.json()["detail"]


def test_tritons_http_client(installation: Installation, unlimited_key: str) -> None:
    """Any sizes, metadata with -1, and tensors without rows."""
    with triton.InferenceServerClient(installation.url.removeprefix("http://")) as http:
        headers = {"API-Key": unlimited_key}
        assert http.get_model_metadata("grid", headers=headers)["inputs"][0]["shape"] == [-1, -1, -1]
        assert http.get_model_metadata("steps", headers=headers)["inputs"][0]["shape"] == [-1, 2]
        assert http.get_model_config("steps", headers=headers)["max_batch_size"] == 0
        for height, width in [(1, 5), (7, 3)]:
            grid = np.random.default_rng(0).normal(size=(2, height, width)).astype(np.float32)
            assert np.array_equal(ask(http, unlimited_key, "grid", grid=grid).as_numpy("doubled"), grid * 2)
        x = np.random.default_rng(1).normal(size=(9, 2)).astype(np.float32)
        zero = np.zeros((1, 3), np.float32)
        whole = ask(http, unlimited_key, "steps", x=x, state=zero).as_numpy("output")
        first = ask(http, unlimited_key, "steps", x=x[:4], state=zero)
        second = ask(http, unlimited_key, "steps", x=x[4:], state=first.as_numpy("state"))
        parts = np.concatenate([first.as_numpy("output"), second.as_numpy("output")])
        assert np.allclose(parts, whole, atol=1e-6)
        tripled = ask(http, unlimited_key, "brain", x=np.array([[0.5, -7]], ml_dtypes.bfloat16)).as_numpy("tripled")
        assert (tripled.dtype, tripled.tolist()) == (ml_dtypes.bfloat16, [[1.5, -21]])


def test_bf16_is_numbers_in_json(client: httpx.Client) -> None:
    """On /v1 and on /v2."""
    assert predict(client, "brain", {"x": [0.5, -7]})["outputs"] == {"tripled": [1.5, -21]}
    tensor = {"name": "x", "datatype": "BF16", "shape": [1, 2], "data": [0.5, -7]}
    answer = client.post("/v2/models/brain/infer", json={"inputs": [tensor]}).json()
    assert answer["outputs"] == [{"name": "tripled", "datatype": "BF16", "shape": [1, 2], "data": [1.5, -21]}]


def test_tritons_grpc_client(installation: Installation) -> None:
    """The same through Envoy."""
    command = [sys.executable, "-c", GRPC, installation.envoy_address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
