"""Real files with the signatures of real models: no batch, a batch elsewhere, constants, state, inputs that may be absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn

from penstock_common.manifest import Manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.engine.input_checks import check_inputs
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model


def read(text: str) -> Manifest:
    manifest = parse_manifest(text)
    check_manifest_values(manifest)
    return manifest


def asked(model: LoadedModel, **inputs: Any) -> list[Any]:
    """The outputs of a message, ``[rows, ...]`` each."""
    arrays, _ = check_inputs(model.manifest, {name: np.asarray(value) for name, value in inputs.items()})
    return list(model.run(arrays))


def save_onnx(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], initializers: Any = ()) -> None:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


def value(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


class Detector(nn.Module):
    """Scalars and points of a whole image, which has no batch."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"brightness": image.mean(), "bright": torch.nonzero(image > 0.5)}


def test_a_model_without_a_batch_takes_whole_images(tmp_path: Path) -> None:
    """Of any size, exactly as they are; outputs of any size, a scalar too, come back."""
    torch.jit.script(Detector()).save(tmp_path / "m.pt")
    manifest = read(
        """
        {format: torchscript, file: m.pt, task: tensor, batch: false,
         inputs: [{name: image, kind: tensor, datatype: FP32, shape: [height, width]}],
         outputs: [{name: brightness, datatype: FP32}, {name: bright, datatype: INT64, shape: [-1, 2]}]}
        """
    )
    model = load_model(manifest, tmp_path, 1)
    image = np.zeros((3, 5), np.float32)
    image[1, 4] = 1
    brightness, bright = asked(model, image=image)
    assert brightness.tolist() == pytest.approx([1 / 15])
    assert bright.tolist() == [[[1, 4]]]
    assert asked(model, image=np.zeros((1, 1), np.float32))[1].shape == (1, 0, 2)


class Recurrent(nn.Module):
    """Takes time first, as PyTorch's recurrent layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(2, 3)

    def forward(self, x: Tensor, state: Tensor) -> dict[str, Tensor]:
        output, new = self.layer(x, state)
        return {"output": output, "new_state": new}


RECURRENT = """
format: torch-export
file: m.pt2
task: tensor
inputs:
  - {name: x, kind: tensor, datatype: FP32, shape: [4, 2], batch_axis: AXIS}
  - {name: state, kind: tensor, datatype: FP32, shape: [1, 3], batch_axis: 1}
outputs:
  - {name: output, datatype: FP32, shape: [4, 3], batch_axis: 1}
  - {name: state, datatype: FP32, shape: [1, 3], batch_axis: 1, source: new_state}
examples:
  - {x: [[1, 2], [3, 4], [5, 6], [7, 8]], state: [[0, 0.5, 1]]}
  - {x: [[0, 1], [0, 1], [1, 0], [-1, 0]], state: [[0, 0, 0]]}
"""


def test_a_batch_may_be_at_another_axis(tmp_path: Path) -> None:
    """Clients have it first; the file gets it where it has it, and rows of several callers do not mix."""
    torch.manual_seed(0)
    module = Recurrent().eval()
    rows = torch.export.Dim("rows", min=1, max=64)
    arguments = (torch.zeros(4, 2, 2), torch.zeros(1, 2, 3))
    program = torch.export.export(module, arguments, dynamic_shapes=({1: rows}, {1: rows}))
    torch.export.save(program, tmp_path / "m.pt2")
    model = load_model(read(RECURRENT.replace("AXIS", "1")), tmp_path, 1)
    x = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    state = np.zeros((5, 1, 3), np.float32)
    output, _ = asked(model, x=x, state=state)
    for row in range(5):
        alone, _ = asked(model, x=x[row : row + 1], state=state[:1])
        assert np.allclose(output[row], alone[0], atol=1e-6)
    with pytest.raises(ModelMismatchError, match="'x'"):
        load_model(read(RECURRENT.replace("AXIS", "0")), tmp_path, 1)


def test_state_goes_round_through_the_caller(tmp_path: Path) -> None:
    """Two halves with the state between them give what the whole gives, and nothing stays in the model."""
    torch.manual_seed(0)
    program = torch.export.export(Recurrent().eval(), (torch.zeros(4, 1, 2), torch.zeros(1, 1, 3)), dynamic_shapes=None)
    torch.export.save(program, tmp_path / "m.pt2")
    text = RECURRENT.replace("AXIS", "1") + "batching: {max_batch_size: 1}\n"
    model = load_model(read(text), tmp_path, 1)
    x = np.random.default_rng(1).normal(size=(1, 8, 2)).astype(np.float32)
    first, state = asked(model, x=x[:, :4], state=np.zeros((1, 1, 3), np.float32))
    second, _ = asked(model, x=x[:, 4:], state=state)
    torch.manual_seed(0)
    whole = Recurrent().layer(torch.from_numpy(x).transpose(0, 1), torch.zeros(1, 1, 3))[0]
    expected = whole.transpose(0, 1).detach().numpy()
    assert np.allclose(np.concatenate([first, second], axis=1), expected, atol=1e-6)


RATED = """
format: {format}
file: {file}
task: tensor
inputs:
  - {{name: x, kind: tensor, datatype: FP32, shape: [2]}}
  - {{name: sr, kind: integer, datatype: INT64, constant: 10{axis}}}
outputs: [{{name: y, datatype: FP32, shape: [2]}}]
"""


class Rated(nn.Module):
    """A number as an argument."""

    def forward(self, x: Tensor, sr: int) -> dict[str, Tensor]:
        return {"y": x * sr}


def test_a_constant_reaches_the_file(tmp_path: Path) -> None:
    """As a number without rows, or for each row; clients do not send it."""
    torch.jit.script(Rated()).save(tmp_path / "m.pt")
    cast = helper.make_node("Cast", ["sr"], ["f"], to=TensorProto.FLOAT)
    multiply = helper.make_node("Mul", ["x", "f"], ["y"])
    y = [value("y", ["n", 2])]
    save_onnx(tmp_path / "none.onnx", [cast, multiply], [value("x", ["n", 2]), value("sr", [], TensorProto.INT64)], y)
    rows = [value("x", ["n", 2]), value("sr", ["n", 1], TensorProto.INT64)]
    save_onnx(tmp_path / "rows.onnx", [cast, multiply], rows, y)
    for kind, file, axis in [
        ("torchscript", "m.pt", ", batch_axis: null"),
        ("onnx", "none.onnx", ", batch_axis: null"),
        ("onnx", "rows.onnx", ""),
    ]:
        model = load_model(read(RATED.format(format=kind, file=file, axis=axis)), tmp_path, 1)
        assert asked(model, x=np.array([[1, 2], [3, 4]], np.float32))[0].tolist() == [[10, 20], [30, 40]]


OPTIONAL = """
format: onnx
file: m.onnx
task: tensor
inputs:
  - {name: x, kind: tensor, datatype: FP32, shape: [2]}
  - {name: scale, kind: number, datatype: FP32, required: false}
outputs: [{name: y, datatype: FP32, shape: [2]}]
batch: false
"""


def test_an_input_that_the_file_has_a_value_for_may_be_absent(tmp_path: Path) -> None:
    """Without it the file's own value counts; a file that needs it is refused."""
    multiply = helper.make_node("Mul", ["x", "scale"], ["y"])
    inputs = [value("x", [2]), value("scale", [])]
    own = numpy_helper.from_array(np.array(5, np.float32), "scale")
    save_onnx(tmp_path / "m.onnx", [multiply], inputs, [value("y", [2])], [own])
    model = load_model(read(OPTIONAL), tmp_path, 1)
    x = np.array([1, 2], np.float32)
    assert asked(model, x=x)[0].tolist() == [[5, 10]]
    assert asked(model, x=x, scale=np.float32(2))[0].tolist() == [[2, 4]]
    save_onnx(tmp_path / "m.onnx", [multiply], inputs, [value("y", [2])])
    with pytest.raises(ModelMismatchError, match="cannot do without its input 'scale'"):
        load_model(read(OPTIONAL), tmp_path, 1)


def test_half_precision_and_names_of_converters(tmp_path: Path) -> None:
    """FP16 in and out, by names with a colon and a slash."""
    x, y = value("serving/x:0", ["n", 2], TensorProto.FLOAT16), value("y/out:0", ["n", 2], TensorProto.FLOAT16)
    save_onnx(tmp_path / "m.onnx", [helper.make_node("Neg", ["serving/x:0"], ["y/out:0"])], [x], [y])
    manifest = read(
        """
        {format: onnx, file: m.onnx, task: tensor,
         inputs: [{name: "serving/x:0", kind: tensor, datatype: FP16, shape: [2]}],
         outputs: [{name: "y/out:0", datatype: FP16, shape: [2]}]}
        """
    )
    model = load_model(manifest, tmp_path, 1)
    (output,) = asked(model, **{"serving/x:0": np.array([[1, -2]], np.float16)})
    assert (output.dtype, output.tolist()) == (np.float16, [[-1, 2]])


class Counter(nn.Module):
    """The number of tokens of each text, by the mask."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"count": attention_mask.sum(dim=1), "first": input_ids[:, 0]}


def test_a_tokenizer_of_the_artifact_feeds_the_file(tmp_path: Path) -> None:
    """What the file takes of it, in its datatypes; texts of different lengths share a batch."""
    tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    rows, length = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("length", min=1, max=512)
    shapes = ({0: rows, 1: length}, {0: rows, 1: length})
    arguments = (torch.ones(2, 3, dtype=torch.int32), torch.ones(2, 3, dtype=torch.int64))
    torch.export.save(torch.export.export(Counter(), arguments, dynamic_shapes=shapes), tmp_path / "m.pt2")
    manifest = read(
        """
        {format: torch-export, file: m.pt2, task: tensor, preprocess: {name: tokenizer},
         inputs: [{name: text, kind: text, datatype: BYTES}],
         outputs: [{name: count, datatype: INT64}, {name: first, datatype: INT32}]}
        """
    )
    model = load_model(manifest, tmp_path, 1)
    texts = np.array([b"good", b"good film good"], dtype=object)
    assert [output.tolist() for output in asked(model, text=texts)] == [[1, 3], [2, 2]]
