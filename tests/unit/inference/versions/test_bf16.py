"""BF16 in and out of each format that has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.versions.load_model import load_model
from penstock_inference.versions.warm_up import warm_up


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": x + x, "single": x.float()}


def program(path: Path) -> None:
    rows = {0: torch.export.Dim("rows", min=1, max=64)}
    example = torch.zeros(2, 3, dtype=torch.bfloat16)
    torch.export.save(torch.export.export(Doubled(), (example,), dynamic_shapes=(rows,)), path)


def script(path: Path) -> None:
    torch.jit.script(Doubled()).save(path)


def onnx_file(path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["single", "single"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.BFLOAT16),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.BFLOAT16, ["rows", 3]) for name in "xy")
    single = helper.make_tensor_value_info("single", TensorProto.FLOAT, ["rows", 3])
    graph = helper.make_graph(nodes, "g", [x], [y, single])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10), str(path))


WRITERS: dict[Format, tuple[str, Callable[[Path], None]]] = {
    Format.TORCH_EXPORT: ("model.pt2", program),
    Format.TORCHSCRIPT: ("model.pt", script),
    Format.ONNX: ("model.onnx", onnx_file),
}


@pytest.mark.parametrize("format_", list(WRITERS))
def test_values_are_the_files_bit_for_bit(format_: Format, tmp_path: Path) -> None:
    """Beside an output of FP32; the trials of a load, which compare and vary rows, pass."""
    file, write = WRITERS[format_]
    write(tmp_path / file)
    manifest = Manifest(
        format_,
        file,
        Task.TENSOR,
        [Field("x", FieldKind.TENSOR, "BF16", shape=[3])],
        [Output("y", "BF16", [3]), Output("single", "FP32", [3])],
        examples=[{"x": [0.1, -2, 3e38]}, {"x": [0, 1, 2]}],
    )
    check_manifest_values(manifest)
    model = load_model(manifest, tmp_path, 1)
    warm_up(model)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(ml_dtypes.bfloat16)
    y, single = model.run({"x": x})
    assert (y.dtype, single.dtype) == (ml_dtypes.bfloat16, np.float32)
    assert np.array_equal(y, x + x) and np.array_equal(single, x.astype(np.float32))


def test_rows_of_bf16_that_mix_are_refused(tmp_path: Path) -> None:
    """BF16 is compared with a tolerance, as floats are, and not beyond it."""

    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(dim=0)

    torch.jit.script(Mixed()).save(tmp_path / "model.pt")
    field = Field("x", FieldKind.TENSOR, "BF16", shape=[3])
    examples = [{"x": [1, 2, 3]}, {"x": [9, 0, 2]}, {"x": [-4, 5, 1]}]
    mixed = Manifest(
        Format.TORCHSCRIPT, "model.pt", Task.TENSOR, [field], [Output("y", "BF16", [3])], examples=examples
    )
    with pytest.raises(Exception, match="A row's answer depends on the rows beside it"):
        warm_up(load_model(mixed, tmp_path, 1))
