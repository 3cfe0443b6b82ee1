"""A folder of PaddleOCR's kind whose networks read a script of coloured blocks: ``r``, ``g`` and ``b``.

They are made of arithmetic, so that what they see in a picture is known: the detection marks what is coloured, a line
that begins with blue is upside down, and the recognition takes the mean colour of 8 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

#: Of a character, in pixels.
WIDTH, HEIGHT = 40, 30
_COLOURS = {"r": "#ff0000", "g": "#00ff00", "b": "#0000ff"}
#: How coloured columns have to be, of 0 for grey to 2; a line that is cut out has white above and below it.
_COLOURED = 0.4


def colour_ocr(folder: Path, *, angle: bool = True, characters: str = "b\ng\nr") -> Path:
    """Write the networks into ``folder/model``; return the folder."""
    (folder / "model").mkdir()
    _write(folder / "model" / "detection.onnx", _detection(), "1 1 h w")
    _write(folder / "model" / "recognition.onnx", _recognition(), "n steps 5", character=characters)
    if angle:
        _write(folder / "model" / "angle.onnx", _angle(), "n 2")
    return folder


def draw(picture: Image.Image, left: int, top: int, text: str) -> None:
    """Write a line of blocks."""
    pen = ImageDraw.Draw(picture)
    for i, character in enumerate(text):
        x = left + i * WIDTH
        pen.rectangle((x, top, x + WIDTH - 1, top + HEIGHT - 1), _COLOURS[character])


def _detection() -> list[NodeProto]:
    return [
        helper.make_node("ReduceMax", ["x", "channels"], ["most"], keepdims=1),
        helper.make_node("ReduceMin", ["x", "channels"], ["least"], keepdims=1),
        helper.make_node("Sub", ["most", "least"], ["colour"]),
        helper.make_node("Sub", ["colour", "one"], ["above"]),
        helper.make_node("Mul", ["above", "twenty"], ["steep"]),
        helper.make_node("Sigmoid", ["steep"], ["y"]),
    ]


def _recognition() -> list[NodeProto]:
    return [
        helper.make_node("AveragePool", ["x"], ["means"], kernel_shape=[48, 8], strides=[48, 8]),
        helper.make_node("Squeeze", ["means", "down"], ["row"]),
        helper.make_node("Transpose", ["row"], ["columns"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["columns", "classes"], ["scores"]),
        helper.make_node("Add", ["scores", "bias"], ["biased"]),
        helper.make_node("Mul", ["biased", "twenty"], ["steep"]),
        helper.make_node("Softmax", ["steep"], ["y"], axis=-1),
    ]


def _angle() -> list[NodeProto]:
    return [
        helper.make_node("Slice", ["x", "zero", "forty", "across"], ["begin"]),
        helper.make_node("GlobalAveragePool", ["begin"], ["means"]),
        helper.make_node("Flatten", ["means"], ["colours"]),
        helper.make_node("MatMul", ["colours", "blue"], ["blueness"]),
        helper.make_node("Mul", ["blueness", "twenty"], ["steep"]),
        helper.make_node("Softmax", ["steep"], ["y"], axis=-1),
    ]


#: By colour, in the order blue, green, red: a colour is what it has more than the mean of the others.
_OWN = np.eye(3) * 1.5 - 0.5
_CONSTANTS = {
    "channels": np.array([1]),
    "down": np.array([2]),
    "across": np.array([3]),
    "zero": np.array([0]),
    "forty": np.array([40]),
    "one": np.array(1, np.float32),
    "twenty": np.array(20, np.float32),
    # None, blue, green, red, space.
    "classes": np.concatenate([np.zeros((3, 1)), _OWN, np.zeros((3, 1))], axis=1).astype(np.float32),
    "bias": np.array([_COLOURED, 0, 0, 0, -1], np.float32),
    "blue": np.stack([np.zeros(3), _OWN[0]], axis=1).astype(np.float32),
}


def _write(path: Path, nodes: Sequence[NodeProto], shape: str, **metadata: str) -> None:
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "height", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [int(d) if d.isdigit() else d for d in shape.split()])],
        [numpy_helper.from_array(array, name) for name, array in _CONSTANTS.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
