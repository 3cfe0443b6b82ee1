"""ONNX files in the form that ``ConvertToOnnx`` of ML.NET gives them (its tests have such files as JSON)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

COLUMNS = ["SepalLength", "SepalWidth", "PetalLength", "PetalWidth"]
SPECIES = ["setosa", "versicolor", "virginica"]
#: By species and column.
COEFFICIENTS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
_ML = "ai.onnx.ml"


def probabilities(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the files answer for rows of all columns."""
    scores = np.exp(rows @ COEFFICIENTS.T)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True), np.float32)


def save_ml_net_file(path: Path, *, all_columns: bool) -> Path:
    """Save a multiclass classifier.

    Args:
        all_columns: also has the columns of the training data, the label among them, and the predicted label, which is
            reshaped to one row. Without, it was converted with the output column ``Score`` only.
    """
    nodes = [
        helper.make_node("Concat", COLUMNS, ["Features"], axis=1),
        helper.make_node(
            "LinearClassifier",
            ["Features"],
            ["PredictedLabelInt64", "Score"],
            domain=_ML,
            post_transform="SOFTMAX",
            coefficients=COEFFICIENTS.ravel().tolist(),
            intercepts=[0.0] * len(SPECIES),
            classlabels_ints=[1, 2, 3],
        ),
        helper.make_node("Identity", ["Score"], ["Score.output"]),
        helper.make_node(
            "LabelEncoder",
            ["mlnet.Score.SlotNames"],
            ["mlnet.Score.unusedOutput"],
            name="mlnet.Score.SlotNames",
            domain=_ML,
            keys_strings=SPECIES,
            values_int64s=[0, 1, 2],
        ),
    ]
    inputs = [_column(name) for name in COLUMNS]
    outputs = [_column("Score.output", len(SPECIES)), _column("mlnet.Score.unusedOutput", 1, TensorProto.INT64)]
    constants = [helper.make_tensor("mlnet.Score.SlotNames", TensorProto.STRING, [1, 1], [b"one"])]
    if all_columns:
        nodes += _label_nodes()
        inputs.insert(0, _column("Label", 1, TensorProto.STRING))
        labels = [_column(f"{name}.output", 1, TensorProto.UINT32) for name in ("Label", "PredictedLabel")]
        outputs = [labels[0], _column("Features.output", len(COLUMNS)), labels[1], *outputs]
        constants.append(helper.make_tensor("ShapeVar", TensorProto.INT64, [2], [1, 1]))
    graph = helper.make_graph(nodes, "model", inputs, outputs, constants)
    opsets = [helper.make_opsetid(_ML, 2), helper.make_opsetid("", 11)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=6, producer_name="ML.NET")
    path.write_bytes(model.SerializeToString())
    return path


def _column(name: str, width: int = 1, datatype: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, datatype, [-1, width])


def _label_nodes() -> list[NodeProto]:
    encoder = helper.make_node(
        "LabelEncoder", ["Label"], ["Key"], domain=_ML, keys_strings=SPECIES, values_int64s=[1, 2, 3], default_int64=-1
    )
    return [
        encoder,
        helper.make_node("Cast", ["Key"], ["Label.output"], to=onnx.TensorProto.UINT32),
        helper.make_node("Identity", ["Features"], ["Features.output"]),
        helper.make_node("Cast", ["PredictedLabelInt64"], ["Predicted"], to=onnx.TensorProto.UINT32),
        helper.make_node("Reshape", ["Predicted", "ShapeVar"], ["PredictedLabel.output"]),
    ]
