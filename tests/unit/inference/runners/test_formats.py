"""Each format runs, and brings only its own framework into the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.runners.forker import clean_environment
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("format_", [Format.TORCH_EXPORT, Format.TORCHSCRIPT])
def test_a_gpu_is_used_where_there_is_one(format_: Format, tmp_path: Path) -> None:
    """A model that was saved on the CPU runs on the GPU, and answers the same."""
    model = load_model(saved(format_, tmp_path), tmp_path, threads=1)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    torch.cuda.reset_peak_memory_stats()
    assert np.allclose(model.run({"x": x})[0], x.sum(axis=1) * 2 + 1)
    assert torch.cuda.max_memory_allocated() > 0


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
