"""Each format runs, and brings only its own framework into the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from penstock_common import manifest_acceleration
from penstock_common.manifest import Acceleration, Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.runners import onnx
from penstock_inference.runners.device_in_use import CPU, device_in_use
from penstock_inference.runners.forker import clean_environment
from penstock_inference.runners.formats import GPU_FORMATS, Framework
from penstock_inference.runners.gpu_files import gpu_devices
from penstock_inference.versions.load_model import load_model
from penstock_training.artifact import FILES, save


class Affine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1) * 2 + 1


def saved(format_: Format, folder: Path) -> Manifest:
    """The module as an artifact in ``folder``."""
    manifest = Manifest(
        format=format_,
        file=FILES[format_],
        task=Task.REGRESSION,
        inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3])],
        outputs=[Output("y", "FP32")],
    )
    save(folder, Affine(), manifest, (torch.zeros(2, 3),), ({0: torch.export.Dim("batch", min=1, max=4096)},))
    return manifest


@pytest.mark.parametrize("format_", list(FILES))
def test_each_format_gives_the_modules_answer_at_every_batch_size(format_: Format, tmp_path: Path) -> None:
    """What was saved answers as the module did, for one row, some, and a full batch."""
    model = load_model(saved(format_, tmp_path), tmp_path, threads=1)
    for rows in (1, 2, 7, 64):
        x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        assert np.allclose(model.run({"x": x})[0], x.sum(axis=1) * 2 + 1, atol=1e-5)


def test_a_model_that_runs_on_the_gpu_may_have_a_bound_on_its_memory() -> None:
    """Whose absence a load that does not fit names as the remedy."""
    assert set(manifest_acceleration.FORMATS["gpu_memory_mb"]) == GPU_FORMATS


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
ONNX_ON_GPU = pytest.mark.skipif(
    not gpu_devices() or "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="needs a GPU that ONNX Runtime can use",
)


@pytest.mark.parametrize(
    "format_",
    [
        pytest.param(Format.TORCH_EXPORT, marks=GPU),
        pytest.param(Format.TORCHSCRIPT, marks=GPU),
        pytest.param(Format.ONNX, marks=ONNX_ON_GPU),
    ],
)
def test_a_gpu_is_used_if_there_is_one(format_: Format, tmp_path: Path) -> None:
    """A model that was saved on the CPU runs on the GPU, in batches of few sizes too, and answers the same."""
    manifest = saved(format_, tmp_path)
    manifest.acceleration = Acceleration(batch_sizes=[4], gpu_memory_mb=1000)
    model = load_model(manifest, tmp_path, threads=1)
    assert device_in_use().name != CPU
    for rows in (1, 3, 4, 7):
        x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        assert np.allclose(model.run({"x": x})[0], x.sum(axis=1) * 2 + 1, atol=1e-4)


def test_onnx_falls_back_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the pod has a GPU and this ONNX Runtime no provider for it, models run all the same, and the device says so."""
    monkeypatch.setattr(onnx, "gpu_devices", lambda: [Path("/dev/nvidiactl")])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    model = load_model(saved(Format.ONNX, tmp_path), tmp_path, threads=1)
    assert model.run({"x": np.ones((2, 3), np.float32)})[0].tolist() == [7, 7]
    assert device_in_use().name == CPU


def test_onnx_asks_for_the_gpu_with_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """If there are a GPU and a provider, it comes before the CPU, which takes the operators that it lacks."""
    monkeypatch.setattr(onnx, "gpu_devices", lambda: [Path("/dev/nvidiactl")])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    (first, options), (second, _) = onnx._providers(100)
    assert (first, second) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["gpu_mem_limit"] == 100 * 2**20
    assert "gpu_mem_limit" not in onnx._providers(None)[0][1]


#: Imports a framework as its parent does, and prints who asked for a GPU meanwhile.
ASKING = """
import sys
import torch.cuda
from penstock_inference.runners.formats import Framework, import_framework

asked = []
for name in ("is_available", "device_count", "_lazy_init"):
    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name) or 0)
import_framework(Framework(sys.argv[1]))
print(asked)
"""


@pytest.mark.parametrize("framework", [Framework.TORCH, Framework.TRANSFORMERS])
def test_a_parent_asks_for_no_gpu(framework: Framework) -> None:
    """After a first call of CUDA, the processes that it forks could not use the GPU."""
    done = subprocess.run([sys.executable, "-c", ASKING, framework], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]


#: The modules of a pod's server, then those of a framework's parent, then a model; prints what came of it.
PARENT = """
import json, sys
from pathlib import Path
import numpy as np
import penstock_inference.__main__

def frameworks():
    heavy = {"torch", "onnxruntime", "transformers", "sklearn", "lightgbm", "xgboost", "pandas"}
    return sorted(heavy & set(sys.modules))

found = [frameworks()]
from penstock_common.manifest import parse_manifest
from penstock_inference.runners.formats import FRAMEWORKS, import_framework
from penstock_inference.versions.load_model import load_model

folder = Path(sys.argv[1])
manifest = parse_manifest((folder / "model.yaml").read_text())
import_framework(FRAMEWORKS[manifest.format])
found.append(frameworks())
found.append(len(list(Path("/proc/self/task").iterdir())))
imported = set(sys.modules)
model = load_model(manifest, folder, 3)
found.append(model.run({"x": np.ones((1, 3), np.float32)})[0].tolist())
torch = sys.modules.get("torch")
found.append(torch and torch.get_num_threads())
print(json.dumps([*found, len(set(sys.modules) - imported)]))
"""


@pytest.mark.parametrize(
    ("format_", "framework", "threads"),
    [(Format.ONNX, "onnxruntime", None), (Format.TORCH_EXPORT, "torch", 3), (Format.TORCHSCRIPT, "torch", 3)],
)
def test_a_parent_holds_only_its_framework_and_the_server_none(
    format_: Format, framework: str, threads: int | None, tmp_path: Path
) -> None:
    """The import starts no thread, which a fork would lose, and leaves little for a model's load to import."""
    saved(format_, tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env=clean_environment(os.environ),
    )
    server, parent, running, answer, set_threads, late = json.loads(child.stdout)
    assert (server, parent, running, answer, set_threads) == ([], [framework], 1, [7.0], threads)
    assert late < 40
