"""A loaded version: the formats, and what its signature refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.engine.model import LoadedModel
from penstock_training.artifact import FILES, save


class Affine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1) * 2 + 1


def manifest(format_: Format) -> Manifest:
    return Manifest(
        format=format_,
        file=FILES[format_],
        task=Task.REGRESSION,
        inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3])],
        outputs=[Output("y", "FP32")],
    )


@pytest.mark.parametrize("format_", list(Format))
def test_each_format_gives_the_modules_answer_at_every_batch_size(format_: Format, tmp_path: Path) -> None:
    """What was saved answers as the module did, for one row, some, and a full batch."""
    m = manifest(format_)
    save(tmp_path, Affine(), m, (torch.zeros(2, 3),), ({0: torch.export.Dim("batch", min=1, max=4096)},))
    model = LoadedModel.load(m, tmp_path, threads=1)
    for rows in (1, 2, 7, 64):
        x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        assert np.allclose(model.run({"x": x})[0], x.sum(axis=1) * 2 + 1, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("format_", [Format.TORCH_EXPORT, Format.TORCHSCRIPT])
def test_a_gpu_is_used_where_there_is_one(format_: Format, tmp_path: Path) -> None:
    """A model that was saved on the CPU runs on the GPU, and answers the same."""
    m = manifest(format_)
    save(tmp_path, Affine(), m, (torch.zeros(2, 3),), ({0: torch.export.Dim("batch", min=1, max=4096)},))
    model = LoadedModel.load(m, tmp_path, threads=1)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    torch.cuda.reset_peak_memory_stats()
    assert np.allclose(model.run({"x": x})[0], x.sum(axis=1) * 2 + 1)
    assert torch.cuda.max_memory_allocated() > 0


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"z": np.zeros((1, 3), np.float32)}, "z"),
        ({}, "x"),
        ({"x": np.zeros((1, 3), np.float64)}, "FP32"),
        ({"x": np.zeros((1, 4), np.float32)}, r"\[1, 4\]"),
        ({"x": np.zeros((0, 3), np.float32)}, "rows"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, np.ndarray], named: str) -> None:
    """422 says which tensor, and what fits."""
    model = LoadedModel(manifest(Format.ONNX), lambda tensors: tensors)
    with pytest.raises(PenstockError, match=named) as caught:
        model.check(inputs)
    assert caught.value.status == 422
