"""Each format runs, and brings only its own framework into the process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.versions.fetch_and_load import load_model
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("format_", [Format.TORCH_EXPORT, Format.TORCHSCRIPT])
def test_a_gpu_is_used_where_there_is_one(format_: Format, tmp_path: Path) -> None:
    """A model that was saved on the CPU runs on the GPU, and answers the same."""
    model = load_model(saved(format_, tmp_path), tmp_path, threads=1)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    torch.cuda.reset_peak_memory_stats()
    assert np.allclose(model.run({"x": x})[0], x.sum(axis=1) * 2 + 1)
    assert torch.cuda.max_memory_allocated() > 0


#: A pod's modules, and a model that is loaded twice, each time in a thread as the pod does it; prints what came of it.
POD = """
import gc, json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
import penstock_inference.__main__
from penstock_common.manifest import parse_manifest
from penstock_inference.versions.fetch_and_load import load_model

def frameworks():
    heavy = {"torch", "onnxruntime", "transformers", "sklearn", "lightgbm", "xgboost", "pandas"}
    return sorted(heavy & set(sys.modules))

before = frameworks()
folder = Path(sys.argv[1])
manifest = parse_manifest((folder / "model.yaml").read_text())
frozen = [gc.get_freeze_count()]
for _ in range(2):
    model = ThreadPoolExecutor(1).submit(load_model, manifest, folder, 3).result()
    frozen.append(gc.get_freeze_count())
answer = model.run({"x": np.ones((1, 3), np.float32)})[0].tolist()
torch = sys.modules.get("torch")
print(json.dumps([before, frameworks(), answer, torch and torch.get_num_threads(), frozen]))
"""


@pytest.mark.parametrize(
    ("format_", "framework", "threads"),
    [(Format.ONNX, "onnxruntime", None), (Format.TORCH_EXPORT, "torch", 3), (Format.TORCHSCRIPT, "torch", 3)],
)
def test_a_pod_holds_only_the_frameworks_of_its_models(
    format_: Format, framework: str, threads: int | None, tmp_path: Path
) -> None:
    """No framework before the first model, then only that of its format; PyTorch's threads are set in all threads."""
    saved(format_, tmp_path)
    child = subprocess.run([sys.executable, "-c", POD, str(tmp_path)], check=True, capture_output=True, text=True)
    *found, frozen = json.loads(child.stdout)
    assert found == [[], [framework], [7.0], threads]
    # The libraries are kept from the garbage collector once, before the first model; no model is.
    assert frozen[0] == 0
    assert frozen[1] >= frozen[2] > 10_000
