"""What each format's file says of its tensors, and that names decide which is which."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.runners import onnx as onnx_runner
from penstock_inference.runners import torch_export, torchscript
from penstock_inference.runners.runner import FileTensor, ModelMismatchError
from penstock_inference.versions.load_model import load_model

A, B, C = (np.array([value, value + 1], np.float32) for value in (1.0, 20.0, 300.0))


def manifest(format_: Format, file: str, names: str, outputs: list[Output]) -> Manifest:
    fields = [Field(name, FieldKind.NUMBER, "FP32") for name in names]
    return Manifest(format_, file, Task.TENSOR, fields, outputs)


def answers(folder: Path, m: Manifest, **inputs: Any) -> list[Any]:
    return [output.tolist() for output in load_model(m, folder, threads=1).run(inputs)]


def onnx_file(path: Path) -> None:
    """``y = a - b * c``, whose inputs are in the order c, a, b; ``twice = 2 * a``."""
    nodes = [
        helper.make_node("Mul", ["b", "c"], ["bc"]),
        helper.make_node("Sub", ["a", "bc"], ["y"]),
        helper.make_node("Add", ["a", "a"], ["twice"]),
    ]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in ("a", "b", "c", "y", "twice")
    }
    graph = helper.make_graph(nodes, "g", [values[n] for n in "cab"], [values["twice"], values["y"]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def test_onnx_inputs_are_bound_by_name(tmp_path: Path) -> None:
    """Three inputs in another order than the manifest's, and one of two outputs."""
    onnx_file(tmp_path / "m.onnx")
    m = manifest(Format.ONNX, "m.onnx", "abc", [Output("y", "FP32")])
    assert answers(tmp_path, m, a=A, b=B, c=C) == [(A - B * C).tolist()]


def test_an_onnx_file_tells_names_types_and_shapes(tmp_path: Path, regression: Manifest) -> None:
    """A symbol is a dimension that varies."""
    onnx_file(tmp_path / "m.onnx")
    assert onnx_runner.load(tmp_path / "m.onnx", regression, 1).inputs == [
        FileTensor(name, "FP32", (-1,)) for name in "cab"
    ]


class Keyed(nn.Module):
    def forward(self, c: Tensor, batch: dict[str, Tensor], *, flag: bool = True, b: Tensor) -> dict[str, Any]:
        y = batch["a"] - b * c
        return {"y": y, "more": (batch["a"] * 2, y if flag else c)}


def program(path: Path) -> None:
    one = torch.zeros(2)
    rows = {0: torch.export.Dim("rows", min=1, max=64)}
    exported = torch.export.export(
        Keyed(),
        (one, {"a": one.clone()}),
        {"flag": True, "b": one.clone()},
        dynamic_shapes={"c": rows, "batch": {"a": rows}, "flag": None, "b": rows},
    )
    torch.export.save(exported, path)


def test_a_programs_arguments_and_answer_are_bound_by_name(tmp_path: Path) -> None:
    """Positional and keyword arguments, a dict among them, a constant, and a dict that is returned."""
    program(tmp_path / "m.pt2")
    m = manifest(Format.TORCH_EXPORT, "m.pt2", "abc", [Output("twice", "FP32", source="more.0"), Output("y", "FP32")])
    m.inputs[0].source = "batch.a"
    model = load_model(m, tmp_path, threads=1)
    for _ in range(2):  # with guards and without
        twice, y = model.run({"a": A, "b": B, "c": C})
        assert (twice.tolist(), y.tolist()) == ((A * 2).tolist(), (A - B * C).tolist())


def test_a_program_tells_names_types_and_shapes(tmp_path: Path, regression: Manifest) -> None:
    """In the order of its graph."""
    program(tmp_path / "m.pt2")
    tensors = torch_export.load(tmp_path / "m.pt2", regression, 1).inputs
    assert list(tensors) == [FileTensor(name, "FP32", (-1,)) for name in ("c", "batch.a", "b")]


def test_a_program_with_other_names_is_refused(tmp_path: Path) -> None:
    """The reason lists the manifest's inputs and the file's."""
    program(tmp_path / "m.pt2")
    with pytest.raises(ModelMismatchError, match=r"gives 'a' .*'x' .*; the file takes 'c' .*'batch.a' .*'b'"):
        load_model(manifest(Format.TORCH_EXPORT, "m.pt2", "abx", [Output("y", "FP32")]), tmp_path, threads=1)


class Pair(NamedTuple):
    twice: Tensor
    y: Tensor


class Scripted(nn.Module):
    def forward(self, c: Tensor, a: Tensor, b: Tensor, scale: Tensor | None = None, k: int = 1) -> dict[str, Tensor]:
        y = a - b * c
        if scale is not None:
            y = y * scale
        return {"y": y * k, "twice": a * 2}


class Tupled(nn.Module):
    def forward(self, c: Tensor, a: Tensor, b: Tensor) -> Pair:
        return Pair(a * 2, a - b * c)


@pytest.mark.parametrize("module", [Scripted(), Tupled()])
def test_a_scripts_arguments_and_answer_are_bound_by_name(module: nn.Module, tmp_path: Path) -> None:
    """Arguments with defaults are left out; a dict and a NamedTuple name what they hold."""
    torch.jit.script(module).save(tmp_path / "m.pt")
    m = manifest(Format.TORCHSCRIPT, "m.pt", "abc", [Output("twice", "FP32"), Output("y", "FP32")])
    assert answers(tmp_path, m, a=A, b=B, c=C) == [(A * 2).tolist(), (A - B * C).tolist()]


def test_a_scripts_optional_argument_is_given_if_the_manifest_names_it(tmp_path: Path) -> None:
    """And only then."""
    torch.jit.script(Scripted()).save(tmp_path / "m.pt")
    m = manifest(Format.TORCHSCRIPT, "m.pt", "abcs", [Output("y", "FP32")])
    m.inputs[3].source = "scale"
    assert answers(tmp_path, m, a=A, b=B, c=C, s=B) == [((A - B * C) * B).tolist()]


def test_a_trace_keeps_the_names_of_its_arguments(tmp_path: Path) -> None:
    """The format that most deployments have today; a tuple has no names, so that all of it is declared."""
    torch.jit.trace(Tupled(), (torch.zeros(2), torch.ones(2), torch.ones(2))).save(tmp_path / "m.pt")
    m = manifest(Format.TORCHSCRIPT, "m.pt", "abc", [Output("d", "FP32"), Output("e", "FP32")])
    assert answers(tmp_path, m, a=A, b=B, c=C) == [(A * 2).tolist(), (A - B * C).tolist()]


class Numbered(nn.Module):
    def forward(self, x: Tensor, times: list[int]) -> Tensor:
        return x * times[0]


def test_a_script_that_needs_a_list_is_refused(tmp_path: Path, regression: Manifest) -> None:
    """The reason names the argument."""
    torch.jit.script(Numbered()).save(tmp_path / "m.pt")
    with pytest.raises(ModelMismatchError, match=r"times: List\[int\]"):
        torchscript.load(tmp_path / "m.pt", regression, 1)
