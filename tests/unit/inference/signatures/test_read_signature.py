"""What the file of each format says of itself, and what a run with zeros adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
import torch
import xgboost
from onnx import TensorProto, helper
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import IsolationForest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Format, Task
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.signatures.read import read_signature
from tests.unit.inference.signatures.ml_net_file import COLUMNS, SPECIES, save_ml_net_file

NUMBERS = np.random.default_rng(0).normal(size=(40, 3))
CLASSES = np.array(["no", "yes"])[(NUMBERS[:, 0] > 0).astype(int)]


def names(signature: FileSignature) -> list[str | None]:
    return [found.name for found in signature.inputs]


def save_onnx(path: Path, rows: int | str, **metadata: str) -> Path:
    """A model of an input ``[rows, width, 2]`` with a softmax, and the names of classes in its metadata."""
    nodes = [
        helper.make_node("ReduceSum", ["pixels:0", "axes"], ["sums"], keepdims=0),
        helper.make_node("Softmax", ["sums"], ["shares"]),
    ]
    taken = helper.make_tensor_value_info("pixels:0", TensorProto.FLOAT, [rows, "width", 2])
    given = helper.make_tensor_value_info("shares", TensorProto.FLOAT, [rows, 2])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(nodes, "model", [taken], [given], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    model.doc_string = "Shares"
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_onnx_says_names_types_shapes_and_metadata(tmp_path: Path) -> None:
    """A dimension that varies is -1, and a run needs its size."""
    path = save_onnx(tmp_path / "m.onnx", "rows", names="{0: 'cat', 1: 'dog'}")
    signature = read_signature(path, Format.ONNX, [])
    assert signature.inputs == [FoundInput("pixels:0", "FP32", [-1, 2])]
    assert signature.outputs is None
    assert signature.rows == -1 and signature.labels == ["cat", "dog"] and signature.description == "Shares"
    signature = read_signature(path, Format.ONNX, [FoundInput("pixels:0", "FP32", [5, 2])])
    assert signature.outputs is not None
    (output,) = signature.outputs
    assert (output.name, output.datatype, output.shape, output.probabilities) == ("shares", "FP32", [2], True)


def test_onnx_with_a_fixed_number_of_rows(tmp_path: Path) -> None:
    """It is kept: the manifest must not batch more."""
    assert read_signature(save_onnx(tmp_path / "m.onnx", 1), Format.ONNX, []).rows == 1


def test_a_file_may_run_with_one_row_only(tmp_path: Path) -> None:
    """Though it declares any number: its outputs are known, and the manifest must not batch. ML.NET writes such files."""
    signature = read_signature(save_ml_net_file(tmp_path / "m.onnx", all_columns=True), Format.ONNX, [])
    assert names(signature) == ["Label", *COLUMNS] and signature.rows == 1 and not signature.no_run
    assert signature.outputs is not None
    assert [o.name for o in signature.outputs if o.probabilities] == ["Score.output"]


def test_ml_net_names_its_classes(tmp_path: Path) -> None:
    """Its operators have only their numbers."""
    signature = read_signature(save_ml_net_file(tmp_path / "m.onnx", all_columns=False), Format.ONNX, [])
    assert names(signature) == COLUMNS and signature.labels == SPECIES and signature.rows == -1


def test_a_torch_export_program_says_everything(tmp_path: Path) -> None:
    """Names of arguments, types, shapes, and the keys of a dict; logits are no probabilities."""

    class Two(nn.Module):
        def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
            return {"sum": (ids * mask).sum(1).float(), "both": torch.stack([ids, mask], 1) * 3.0}

    rows = torch.export.Dim("rows")
    example = (torch.ones(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.int64))
    torch.export.save(torch.export.export(Two(), example, dynamic_shapes=({0: rows}, {0: rows})), tmp_path / "m.pt2")
    signature = read_signature(tmp_path / "m.pt2", Format.TORCH_EXPORT, [])
    assert [(i.name, i.datatype, i.shape) for i in signature.inputs] == [("ids", "INT64", [4]), ("mask", "INT64", [4])]
    assert signature.outputs is not None
    assert [(o.name, o.datatype, o.shape) for o in signature.outputs] == [("sum", "FP32", []), ("both", "FP32", [2, 4])]
    assert not any(o.probabilities for o in signature.outputs)


def test_torchscript_says_only_names(tmp_path: Path) -> None:
    """With the types and shapes given, a run shows the outputs; one that fails says why."""
    torch.jit.trace(nn.Linear(4, 2).eval(), torch.zeros(2, 4)).save(str(tmp_path / "m.pt"))
    signature = read_signature(tmp_path / "m.pt", Format.TORCHSCRIPT, [])
    assert names(signature) == ["input"] and signature.inputs[0].datatype is None and signature.outputs is None
    signature = read_signature(tmp_path / "m.pt", Format.TORCHSCRIPT, [FoundInput("input", "FP32", [4])])
    assert signature.outputs is not None and signature.outputs[0].shape == [2]
    signature = read_signature(tmp_path / "m.pt", Format.TORCHSCRIPT, [FoundInput("input", "FP32", [5])])
    assert signature.outputs is None and "shapes cannot be multiplied" in signature.no_run


def test_scikit_learn_says_columns_categories_and_classes(tmp_path: Path) -> None:
    """The kind of a column is what it was fitted for."""
    table = pd.DataFrame({"age": NUMBERS[:, 0], "city": ["Graz", "Wien"] * 20, "words": ["a b", "b c"] * 20, "x": 1.0})
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age"]),
            ("categories", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("texts", TfidfVectorizer(token_pattern=r"\w"), "words"),
        ]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(table, CLASSES)
    skops.io.dump(model, tmp_path / "m.skops")
    signature = read_signature(tmp_path / "m.skops", Format.SKOPS, [])
    kinds = [(found.name, found.kind, found.categories) for found in signature.inputs]
    assert kinds == [
        ("age", FieldKind.NUMBER, None),
        ("city", FieldKind.CATEGORY, ["Graz", "Wien"]),
        ("words", FieldKind.TEXT, None),
        ("x", FieldKind.NUMBER, None),
    ]
    assert "encoder ignores" in signature.inputs[1].note and "guess" in signature.inputs[3].note
    assert signature.task is Task.CLASSIFICATION and signature.labels == ["no", "yes"] and not signature.numbered


@pytest.mark.parametrize(
    ("model", "task", "datatype", "shape"),
    [
        (Ridge().fit(NUMBERS, NUMBERS[:, 0]), Task.REGRESSION, "FP64", []),
        (KMeans(2, n_init=1).fit(NUMBERS), Task.TENSOR, "INT32", []),
        (StandardScaler().fit(NUMBERS), Task.TENSOR, "FP64", [3]),
        (IsolationForest(n_estimators=2).fit(NUMBERS), Task.TENSOR, "INT64", []),
        (LinearSVC().fit(NUMBERS, CLASSES), Task.TENSOR, "BYTES", []),
        (Ridge().fit(NUMBERS, NUMBERS[:, :2]), Task.TENSOR, "FP64", [2]),
        (DecisionTreeClassifier().fit(NUMBERS, np.stack([CLASSES, CLASSES], axis=1)), Task.TENSOR, "BYTES", [2]),
    ],
)
def test_scikit_learn_without_classes(
    model: object, task: Task, datatype: str, shape: list[int], tmp_path: Path
) -> None:
    """Whatever a model without probabilities of classes predicts, of a matrix without names."""
    skops.io.dump(model, tmp_path / "m.skops")
    signature = read_signature(tmp_path / "m.skops", Format.SKOPS, [])
    assert [(found.name, found.shape) for found in signature.inputs] == [(None, [3])]
    assert signature.outputs is not None
    assert (signature.task, signature.outputs[0].datatype, signature.outputs[0].shape) == (task, datatype, shape)


def test_lightgbm_says_categories_and_the_objective(tmp_path: Path) -> None:
    """Classes have numbers only."""
    table = pd.DataFrame({"age": NUMBERS[:, 0], "city": pd.Categorical(["Graz", "Wien"] * 20)})
    model = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=2, min_data_per_group=2, verbose=-1)
    model.fit(table, (np.arange(40) + 1) % 2).booster_.save_model(tmp_path / "m.txt")
    signature = read_signature(tmp_path / "m.txt", Format.LIGHTGBM, [])
    assert [(found.name, found.kind) for found in signature.inputs] == [
        ("age", FieldKind.NUMBER),
        ("city", FieldKind.CATEGORY),
    ]
    assert signature.inputs[1].categories == ["Graz", "Wien"]
    assert signature.labels == ["0", "1"] and signature.numbered


@pytest.mark.parametrize(
    ("classes", "task"), [(0, Task.REGRESSION), (2, Task.CLASSIFICATION), (3, Task.CLASSIFICATION)]
)
def test_xgboost_says_the_objective(classes: int, task: Task, tmp_path: Path) -> None:
    """A regression has no labels, a classification as many as classes."""
    target = np.arange(40) % classes if classes else NUMBERS[:, 0]
    model = (xgboost.XGBClassifier if classes else xgboost.XGBRegressor)(n_estimators=2).fit(NUMBERS, target)
    model.save_model(tmp_path / "m.json")
    signature = read_signature(tmp_path / "m.json", Format.XGBOOST, [])
    assert signature.task is task and len(signature.labels) == classes
    assert signature.inputs[0].shape == [3]


def test_a_hugging_face_folder_with_a_lone_label_gives_a_score(tmp_path: Path) -> None:
    """It has no classes."""
    folder(tmp_path, architectures=["BertForSequenceClassification"], id2label={"0": "LABEL_0"})
    signature = read_signature(tmp_path, Format.TRANSFORMERS, [])
    assert signature.outputs == [FoundOutput("logits", "FP32", [1])]
    assert signature.task is Task.REGRESSION and not signature.labels


@pytest.mark.parametrize("estimator", [xgboost.XGBRegressor, xgboost.XGBClassifier])
def test_xgboost_of_several_targets(estimator: Any, tmp_path: Path) -> None:
    """They are one output, also if each is a class of its own."""
    targets = np.stack([np.arange(40) % 2, np.arange(40) > 20], axis=1)
    estimator(n_estimators=2).fit(NUMBERS, targets).save_model(tmp_path / "m.json")
    signature = read_signature(tmp_path / "m.json", Format.XGBOOST, [])
    assert signature.outputs == [FoundOutput("prediction", "FP32", [2])]
    assert signature.task is Task.TENSOR and not signature.labels


def folder(path: Path, **config: object) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))
    (path / "model.safetensors").touch()
    return path


def test_a_hugging_face_folder_says_labels_and_lengths(tmp_path: Path) -> None:
    """In the order of their numbers; no weight is read."""
    labels = {str(i): f"label {i}" for i in reversed(range(11))}
    folder(tmp_path, architectures=["BertForSequenceClassification"], id2label=labels, max_position_embeddings=512)
    signature = read_signature(tmp_path, Format.TRANSFORMERS, [])
    assert signature.labels == [f"label {i}" for i in range(11)] and not signature.numbered
    assert signature.inputs[0].max_length == 64 * 8
    assert signature.outputs is not None and signature.outputs[0].shape == [11]


def test_a_hugging_face_folder_without_a_head_gives_embeddings(tmp_path: Path) -> None:
    """As wide as its hidden state, and the number of tokens, by which an embedding is paid."""
    signature = read_signature(folder(tmp_path, architectures=["BertModel"], hidden_size=32), Format.TRANSFORMERS, [])
    assert signature.task is Task.TENSOR
    assert signature.outputs == [FoundOutput("embedding", "FP32", [32]), FoundOutput("tokens", "INT32", [])]


def test_a_folder_that_generates_text_has_the_inputs_of_all_of_them(tmp_path: Path) -> None:
    """Messages only with a chat template; an example with which a pod can try it."""
    folder(tmp_path, architectures=["LlamaForCausalLM"], max_position_embeddings=512)
    signature = read_signature(tmp_path, Format.TRANSFORMERS, [])
    assert signature.task is Task.GENERATION
    assert "prompt" in names(signature) and "messages" not in names(signature)
    assert not any(found.required for found in signature.inputs)
    assert signature.inputs[0].max_length == 64 * 8 and "prompt" in signature.examples[0]
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    signature = read_signature(tmp_path, Format.TRANSFORMERS, [])
    assert {"prompt", "messages", "tools"} <= set(names(signature)) and "messages" in signature.examples[0]


def save_gguf(path: Path, architecture: str) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(2048)
    writer.add_chat_template("{{ messages }}")
    writer.add_tensor("output.weight", np.zeros((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_says_how_much_it_reads(tmp_path: Path) -> None:
    """Its header has the context and the chat template; an architecture that transformers does not read is named."""
    signature = read_signature(save_gguf(tmp_path / "m.gguf", "llama"), Format.TRANSFORMERS, [])
    assert signature.task is Task.GENERATION and "messages" in names(signature)
    assert signature.inputs[0].max_length == 2048 * 8
    with pytest.raises(ModelMismatchError, match=r"'clip'.*llama"):
        read_signature(save_gguf(tmp_path / "other.gguf", "clip"), Format.TRANSFORMERS, [])


def test_a_hugging_face_folder_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    """A head that is not served, and weights that are pickles."""
    folder(tmp_path, architectures=["LlavaForConditionalGeneration"], model_type="llava")
    with pytest.raises(ModelMismatchError, match="LlavaForConditionalGeneration is not served"):
        read_signature(tmp_path, Format.TRANSFORMERS, [])
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelMismatchError, match="save_pretrained"):
        read_signature(tmp_path, Format.TRANSFORMERS, [])


def test_a_disguised_file_is_named(tmp_path: Path) -> None:
    """With the line that exports it."""
    torch.save({"weight": torch.zeros(2)}, tmp_path / "m.pt")
    with pytest.raises(ModelMismatchError, match=r"weights or a pickled module.*torch\.export\.save"):
        read_signature(tmp_path / "m.pt", Format.TORCHSCRIPT, [])
