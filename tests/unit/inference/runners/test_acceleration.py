"""``acceleration`` at work: half precision, batches of a few sizes, recordings, and the GPU's memory.

What needs a GPU is skipped without one; the rest of each test is the same on both devices.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penstock_common.manifest import (
    Acceleration,
    Batching,
    Field,
    FieldKind,
    Format,
    Manifest,
    Output,
    Precision,
    Task,
)
from penstock_inference.engine.output_checks import check_probabilities
from penstock_inference.runners.batch_sizes import FilledBatches
from penstock_inference.runners.cuda_graphs import RecordedFunction
from penstock_inference.runners.device_in_use import CPU, device_in_use
from penstock_inference.runners.gpu_memory import GpuMemoryError, check_gpu_memory
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.versions.load_model import load_model
from penstock_training.artifact import FILES, save
from tests.unit.inference.fake_runner import FakeRunner

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]
TORCH = [Format.TORCH_EXPORT, Format.TORCHSCRIPT]
MB = 2**20


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each device that the machine has; on the CPU, PyTorch finds no GPU."""
    if request.param == "cpu":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return str(request.param)


class Network(nn.Module):
    """A convolution, a norm, a conversion in between, a matrix product; what it rounds to differs by precision."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 16, 3)
        self.norm = nn.BatchNorm2d(16)
        self.linear = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.norm(self.convolution(x))).mean((2, 3)).to(torch.float32)
        logits: Tensor = self.linear(features)
        return logits


class Probabilities(Network):
    """Computes its softmax itself."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(super().forward(x) * 10, dim=1)


def written(folder: Path, format_: Format, acceleration: Acceleration, **members: Any) -> tuple[Manifest, nn.Module]:
    """Write an artifact; return its manifest and the module in it."""
    torch.manual_seed(0)
    module = members.pop("module", Network)().eval()
    manifest = Manifest(
        format_,
        FILES[format_],
        members.pop("task", Task.TENSOR),
        [Field("x", FieldKind.TENSOR, "FP32", [3, 8, 8])],
        [Output("y", "FP32", [4])],
        acceleration=acceleration,
        batching=Batching(16),
        **members,
    )
    rows = torch.export.Dim("rows", min=1, max=64)
    save(folder, module, manifest, (torch.zeros(2, 3, 8, 8),), ({0: rows},))
    return manifest, module


def images(rows: int) -> NDArray[np.float32]:
    return np.random.default_rng(rows).normal(size=(rows, 3, 8, 8)).astype(np.float32)


def answers(module: nn.Module, x: NDArray[np.float32]) -> NDArray[Any]:
    with torch.inference_mode():
        return np.asarray(module(torch.from_numpy(x)))


@pytest.mark.parametrize("format_", TORCH)
@pytest.mark.parametrize("precision", [Precision.BFLOAT16, Precision.FLOAT16])
def test_half_precision_answers_nearly_the_same(
    device: str, format_: Format, precision: Precision, tmp_path: Path
) -> None:
    """Within 2 % of the largest value, as FP32, whatever the file converts on its way; and not by chance the same."""
    manifest, module = written(tmp_path, format_, Acceleration(precision))
    model = load_model(manifest, tmp_path, threads=1)
    for rows in (1, 5, 5, 16):
        (y,) = model.run({"x": images(rows)})
        expected = answers(module, images(rows))
        assert y.dtype == np.float32
        assert np.abs(y - expected).max() < 0.02 * np.abs(expected).max()
        in_half = precision is Precision.BFLOAT16 or device == "cuda"
        assert (np.abs(y - expected).max() > 1e-5) == in_half  # a CPU computes float16 in float32


def test_probabilities_in_half_precision_pass_for_such(device: str, tmp_path: Path) -> None:
    """Their sum is as near to 1 as the precision allows."""
    manifest, _ = written(
        tmp_path,
        Format.TORCH_EXPORT,
        Acceleration(Precision.BFLOAT16),
        module=Probabilities,
        task=Task.CLASSIFICATION,
        labels=["a", "b", "c", "d"],
    )
    (y,) = load_model(manifest, tmp_path, threads=1).run({"x": images(9)})
    assert np.allclose(y.sum(axis=1), 1, atol=0.02)
    check_probabilities(manifest, [y])
    assert device == "cuda" or np.abs(y.sum(axis=1) - 1).max() > 1e-3  # on a GPU autocast leaves a softmax in float32


def test_post_processing_is_done_in_float32(device: str, tmp_path: Path) -> None:
    """A softmax of the manifest sums to 1 exactly, since it comes after the half precision."""
    manifest, _ = written(tmp_path, Format.TORCHSCRIPT, Acceleration(Precision.BFLOAT16), postprocess="softmax")
    (y,) = load_model(manifest, tmp_path, threads=1).run({"x": images(9)})
    assert np.allclose(y.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("format_", TORCH)
@pytest.mark.parametrize("graphs", [False, True])
def test_every_batch_is_answered_with_sizes_and_recordings(
    device: str, format_: Format, graphs: bool, tmp_path: Path
) -> None:
    """Below, at, between and above the sizes, each row gets its own answer; a CPU ignores both options."""
    acceleration = Acceleration(batch_sizes=[2, 8], cuda_graphs=graphs)
    manifest, module = written(tmp_path, format_, acceleration)
    model = load_model(manifest, tmp_path, threads=1)
    kept = []
    for rows in (1, 2, 5, 8, 12, 1):
        (y,) = model.run({"x": images(rows)})
        kept.append((rows, y))
    for rows, y in kept:  # an answer stays what it is while others are computed
        assert np.allclose(y, answers(module, images(rows)), atol=1e-3)


class Widths(FakeRunner):
    """Gives each row's sum, and the number of rows; notes the batches that it got."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> list[NDArray[Any]]:
        (x,) = inputs
        assert x is not None
        self.batches.append(len(x))
        return [x.sum(axis=1), np.array(len(x)), np.zeros(3)]


def test_a_batch_is_filled_up_to_the_next_size() -> None:
    """By its last row, and the copies are cut off again; one above all sizes runs as it is."""
    runner = Widths()
    filled = FilledBatches(runner, [1, 4])
    for rows in (1, 2, 4, 6):
        x = np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)
        sums, count, other = filled.run([x])
        assert sums.tolist() == x.sum(axis=1).tolist()
        assert count.shape == () and other.shape == (3,)
    assert runner.batches == [1, 4, 4, 6]


class FakeGraph:
    """Does on a replay what the function did while it was recorded."""

    def __init__(self) -> None:
        self.recorded: Any = None
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        x, y = self.recorded
        y.copy_(x * 2)


def test_each_size_is_recorded_once_and_replayed_with_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sizes run as they are. Here a stand-in for CUDA records."""
    runs: list[tuple[Tensor, Tensor]] = []
    graphs: list[FakeGraph] = []

    def twice(x: Tensor, absent: Tensor | None) -> Tensor:
        assert absent is None
        runs.append((x, x * 2))
        return runs[-1][1]

    @contextmanager
    def record(graph: FakeGraph, *_: object) -> Iterator[None]:
        yield
        graph.recorded = runs[-1]
        graphs.append(graph)

    for name, fake in {"CUDAGraph": FakeGraph, "graph": record}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for name in ("graph_pool_handle", "synchronize", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)

    recorded = RecordedFunction(twice, [1, 3])
    for rows in (3, 2, 3, 1, 3):
        before = len(runs)
        x = torch.randn(rows, 2)
        assert torch.equal(recorded(x, None), x * 2)
        assert (len(runs) == before + 1) == (rows == 2)
    assert [graph.replays for graph in graphs] == [3, 1]


class LooksAtValues(nn.Module):
    """What it does depends on a value, which a recording cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.mean((1, 2, 3))
        if bool((y.sum() > 0).item()):
            y = y * 2
        return torch.stack([y, y, y, y], dim=1)


@GPU
def test_what_cannot_be_recorded_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """At the load, not at the first request."""
    acceleration = Acceleration(batch_sizes=[4], cuda_graphs=True)
    manifest, _ = written(tmp_path, Format.TORCHSCRIPT, Acceleration())
    torch.jit.script(LooksAtValues()).save(tmp_path / manifest.file)
    manifest.acceleration = acceleration
    with pytest.raises(ModelMismatchError, match=r"Leave acceleration\.cuda_graphs out"):
        load_model(manifest, tmp_path, threads=1)


def test_the_device_in_use_is_known_once_a_model_is_loaded(device: str, tmp_path: Path) -> None:
    """``cpu``, or the GPU's name with what the process holds of its memory."""
    manifest, _ = written(tmp_path, Format.TORCH_EXPORT, Acceleration())
    load_model(manifest, tmp_path, threads=1)
    name, held = device_in_use()
    if device == "cuda":
        assert name == torch.cuda.get_device_name()
        assert held > 0
    elif not torch.cuda.is_initialized():
        assert (name, held) == (CPU, 0)


def test_a_gpu_without_room_is_refused_in_megabytes() -> None:
    """The weights and what comes with them, or what the manifest says; the text names what is needed, free and there."""
    with pytest.raises(GpuMemoryError, match=r"about 516 MB .* 500 of 80000 MB are free.* set acceleration"):
        check_gpu_memory(4 * MB, None, free=500 * MB, total=80000 * MB)
    with pytest.raises(GpuMemoryError, match=r"needs 600 MB .* 500 of 80000 MB are free.* lower acceleration"):
        check_gpu_memory(4 * MB, 600, free=500 * MB, total=80000 * MB)
    assert check_gpu_memory(4 * MB, None, free=600 * MB, total=80000 * MB) == 80000 * MB
    assert check_gpu_memory(2 * MB, 300, free=600 * MB, total=80000 * MB) == 300 * MB


@GPU
def test_a_model_takes_no_more_of_the_gpu_than_it_may(tmp_path: Path) -> None:
    """Beyond ``gpu_memory_mb`` its own allocation fails, whatever else is free."""
    manifest, _ = written(tmp_path, Format.TORCH_EXPORT, Acceleration(gpu_memory_mb=64))
    place = TorchDevice(manifest, tmp_path / manifest.file, threads=1)
    try:
        with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
            torch.empty(128 * MB, dtype=torch.uint8, device=place.device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        gc.collect()
