"""A scikit-learn pipeline on columns of texts and numbers, converted to ONNX, answers as scikit-learn does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model

CITIES = ["Wien", "Köln", "Zürich", "Graz"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.normal(40, 10, 400).astype(np.float32),
            "city": rng.choice(CITIES, 400),
            "income": rng.normal(3, 1, 400).astype(np.float32),
        }
    )


@pytest.fixture(scope="module")
def pipeline(table: pd.DataFrame) -> Pipeline:
    """Its answer depends on the city at least as much as on the numbers."""
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["age", "income"]), ("city", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    )
    bought = np.where((table["city"].isin(["Wien", "Köln"])) & (table["age"] > 35) | (table["income"] > 4), "ja", "näh")
    return make_pipeline(columns, LogisticRegression()).fit(table, bought)


@pytest.fixture(scope="module")
def model(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The manifest has the columns in another order than the file, and the outputs too."""
    folder = tmp_path_factory.mktemp("artifact")
    one_column = {
        "city": StringTensorType([None, 1]),
        "age": FloatTensorType([None, 1]),
        "income": FloatTensorType([None, 1]),
    }
    converted = to_onnx(pipeline, initial_types=list(one_column.items()), options={"zipmap": False})
    (folder / "m.onnx").write_bytes(converted.SerializeToString())
    manifest = Manifest(
        format=Format.ONNX,
        file="m.onnx",
        task=Task.CLASSIFICATION,
        inputs=[
            Field("income", FieldKind.NUMBER, "FP32"),
            Field("age", FieldKind.NUMBER, "FP32"),
            Field("town", FieldKind.CATEGORY, "BYTES", categories=CITIES, source="city"),
        ],
        outputs=[Output("probabilities", "FP32", [2]), Output("bought", "BYTES", source="label")],
        labels=["ja", "näh"],
    )
    return load_model(manifest, folder, threads=1)


def column(texts: list[bytes]) -> np.ndarray:
    array = np.empty(len(texts), dtype=np.object_)
    array[:] = texts
    return array


def test_labels_and_probabilities_are_those_of_scikit_learn(
    model: LoadedModel, pipeline: Pipeline, table: pd.DataFrame
) -> None:
    """Texts go in as UTF-8 and come out as UTF-8, at batches of one and of many."""
    for start, end in ((0, 1), (1, 400)):
        rows = table.iloc[start:end]
        inputs = {
            "town": column([city.encode() for city in rows["city"]]),
            "age": rows["age"].to_numpy(),
            "income": rows["income"].to_numpy(),
        }
        probabilities, bought = model.run(inputs)
        assert np.allclose(probabilities, pipeline.predict_proba(rows), atol=1e-6)
        assert [label.decode() for label in bought.tolist()] == pipeline.predict(rows).tolist()
        assert all(type(label) is bytes for label in bought.tolist())


@pytest.mark.parametrize("labels", [["näh", "ja"], ["ja", "näh"], ["yes", "no"]])
def test_labels_in_another_order_than_the_classes_are_refused(
    pipeline: Pipeline, labels: list[str], tmp_path: Path
) -> None:
    """Each row would get the other's probability; other names are their owner's choice."""
    types = [("age", FloatTensorType([None, 1])), ("city", StringTensorType([None, 1]))]
    converted = to_onnx(
        pipeline, initial_types=[*types, ("income", FloatTensorType([None, 1]))], options={"zipmap": False}
    )
    (tmp_path / "m.onnx").write_bytes(converted.SerializeToString())
    inputs = [Field(name, FieldKind.NUMBER, "FP32") for name in ("age", "income")]
    inputs.append(Field("city", FieldKind.CATEGORY, "BYTES", categories=CITIES))
    outputs = [Output("probabilities", "FP32", [2])]
    manifest = Manifest(Format.ONNX, "m.onnx", Task.CLASSIFICATION, inputs, outputs, labels=labels)
    if labels[0] != "näh":
        load_model(manifest, tmp_path, threads=1)
        return
    with pytest.raises(ModelMismatchError, match=r"classes are ja, näh, in this order; the labels are näh, ja\."):
        load_model(manifest, tmp_path, threads=1)


def test_a_text_that_is_not_utf8_is_refused(model: LoadedModel) -> None:
    """422 names the input and the row: it is the caller's fault."""
    ages = np.zeros(2, np.float32)
    with pytest.raises(PenstockError, match=r"^town: row 1 is not UTF-8") as caught:
        model.run({"town": column([b"Wien", b"K\xf6ln"]), "age": ages, "income": ages})
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


def zip_mapped(classes: list[Any], folder: Path) -> tuple[LogisticRegression, NDArray[np.float32]]:
    """Convert a classifier of three classes as the converter does by default, with its ``ZipMap``."""
    numbers = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    model = LogisticRegression().fit(numbers, np.array(classes)[np.argmax(numbers @ np.eye(2, 3), axis=1)])
    (folder / "m.onnx").write_bytes(to_onnx(model, numbers[:1]).SerializeToString())
    return model, numbers


def classifier(labels: list[str]) -> Manifest:
    outputs = [Output("probabilities", "FP32", [3], source="output_probability")]
    inputs = [Field("X", FieldKind.TENSOR, "FP32", [2])]
    return Manifest(Format.ONNX, "m.onnx", Task.CLASSIFICATION, inputs, outputs, labels=labels)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [(["b", "a", "é"], ["é", "a", "b"]), ([10, 2, 1], ["one", "two", "ten"])],
    ids=["names", "numbers"],
)
def test_dictionaries_of_probabilities_become_columns(classes: list[Any], labels: list[str], tmp_path: Path) -> None:
    """In the order of the labels, or of the numbers if the classes have no names."""
    model, numbers = zip_mapped(classes, tmp_path)
    [probabilities] = load_model(classifier(labels), tmp_path, threads=1).run({"X": numbers})
    order = [list(model.classes_).index(label) for label in labels] if classes[0] == "b" else [0, 1, 2]
    np.testing.assert_allclose(probabilities, model.predict_proba(numbers)[:, order], atol=1e-6)


def test_labels_that_are_not_the_classes_are_refused(tmp_path: Path) -> None:
    """The reason lists both."""
    zip_mapped(["a", "b", "c"], tmp_path)
    with pytest.raises(ModelMismatchError, match=r"classes are a, b, c; the labels are a, b, d\."):
        load_model(classifier(["a", "b", "d"]), tmp_path, threads=1)
