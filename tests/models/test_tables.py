"""Models of tables, fitted on scikit-learn's real data sets, each from its own kind of file."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.models.serving import Array, Serving, flow

NUMBERS = ["alcohol", "malic_acid", "ash", "magnesium", "proline"]
COLUMNS = [*NUMBERS, "colour"]
#: Every third row is kept from the fits.
TESTED = slice(None, None, 3)


@pytest.fixture(scope="module")
def wines() -> pd.DataFrame:
    table = load_wine(as_frame=True).frame
    colours = pd.cut(table["color_intensity"], [0, 3, 6, 20], labels=["light", "medium", "dark"])
    return table.assign(colour=colours.astype(str))


@pytest.fixture(scope="module")
def pipeline(wines: pd.DataFrame) -> Pipeline:
    """A classifier of wines by columns with names, numbers and texts."""
    columns = ColumnTransformer([("numbers", StandardScaler(), NUMBERS), ("texts", OneHotEncoder(), ["colour"])])
    rest = wines.drop(index=wines.index[TESTED])
    return make_pipeline(columns, LogisticRegression()).fit(rest[COLUMNS], rest["target"])


def wine_manifest(format_and_file: str, datatype: str) -> str:
    fields = "\n".join(f"  - {{name: {name}, kind: number, datatype: {datatype}}}" for name in NUMBERS)
    return f"""
{format_and_file}
task: classification
inputs:
{fields}
  - {{name: colour, kind: category, datatype: BYTES, categories: [light, medium, dark]}}
outputs: [{{name: probabilities, datatype: {datatype}, shape: [3]}}]
labels: ["0", "1", "2"]
examples: [{{alcohol: 13.2, malic_acid: 1.8, ash: 2.1, magnesium: 100, proline: 1050, colour: dark}}]
"""


def check_wines(serving: Serving, model: str, wines: pd.DataFrame, pipeline: Pipeline, tolerance: float) -> None:
    """Compare all that was not fitted on with the pipeline itself."""
    tested = wines.iloc[TESTED]
    answers = serving.predict(model, tested[COLUMNS].to_dict("records"))
    served = [[answer["probabilities"][label] for label in ("0", "1", "2")] for answer in answers]
    np.testing.assert_allclose(served, pipeline.predict_proba(tested[COLUMNS]), atol=tolerance)
    assert np.mean([int(answer["prediction"]) for answer in answers] == tested["target"]) > 0.85


def test_pipeline_by_skops(serving: Serving, tmp_path: Path, wines: pd.DataFrame, pipeline: Pipeline) -> None:
    """Columns arrive by their names, and the probabilities are the pipeline's."""
    skops.io.dump(pipeline, tmp_path / "model.skops")
    serving.serve("wine-skops", tmp_path, wine_manifest("format: skops\nfile: model.skops", "FP64"))
    check_wines(serving, "wine-skops", wines, pipeline, 1e-6)


def test_pipeline_by_onnx(serving: Serving, tmp_path: Path, wines: pd.DataFrame, pipeline: Pipeline) -> None:
    """The same pipeline, converted, gives the same probabilities within FP32."""
    types = [(name, FloatTensorType([None, 1])) for name in NUMBERS] + [("colour", StringTensorType([None, 1]))]
    converted = to_onnx(pipeline, initial_types=types, options={"zipmap": False})
    (tmp_path / "model.onnx").write_bytes(converted.SerializeToString())
    serving.serve("wine-onnx", tmp_path, wine_manifest("format: onnx\nfile: model.onnx", "FP32"))
    check_wines(serving, "wine-onnx", wines, pipeline, 1e-4)


def without(rows: slice, table: Array) -> Array:
    return np.delete(table, rows, axis=0)


def test_lightgbm(serving: Serving, tmp_path: Path) -> None:
    """A booster of the progression of diabetes answers for each patient with its own number."""
    patients, progression = load_diabetes(return_X_y=True)
    model = lightgbm.LGBMRegressor(n_estimators=60, n_jobs=1, verbose=-1)
    model.fit(without(TESTED, patients), without(TESTED, progression))
    model.booster_.save_model(tmp_path / "model.txt")
    manifest = """
format: lightgbm
file: model.txt
task: regression
inputs: [{name: features, kind: tensor, datatype: FP64, shape: [10]}]
outputs: [{name: progression, datatype: FP64}]
"""
    serving.serve("diabetes-lightgbm", tmp_path, manifest)
    tested = patients[TESTED]
    answers = serving.predict("diabetes-lightgbm", [{"features": row.tolist()} for row in tested])
    served = np.array([answer["prediction"] for answer in answers])
    np.testing.assert_allclose(served, model.booster_.predict(tested), rtol=1e-12)
    assert np.corrcoef(served, progression[TESTED])[0, 1] > 0.5


def test_xgboost(serving: Serving, tmp_path: Path) -> None:
    """A booster of thirty measures of tumours answers with its own probabilities."""
    tumours, benign = load_breast_cancer(return_X_y=True)
    model = xgboost.XGBClassifier(n_estimators=40, n_jobs=1).fit(without(TESTED, tumours), without(TESTED, benign))
    model.save_model(tmp_path / "model.ubj")
    manifest = f"""
format: xgboost
file: model.ubj
task: classification
inputs: [{{name: measures, kind: tensor, datatype: FP32, shape: [30]}}]
outputs: [{{name: probabilities, datatype: FP32, shape: [2]}}]
labels: [malignant, benign]
examples: {flow([{"measures": tumours[0].tolist()}])}
"""
    serving.serve("tumours-xgboost", tmp_path, manifest)
    tested = tumours[TESTED].astype(np.float32)
    answers = serving.predict("tumours-xgboost", [{"measures": row.tolist()} for row in tested])
    served = [[answer["probabilities"][label] for label in ("malignant", "benign")] for answer in answers]
    np.testing.assert_allclose(served, model.predict_proba(tested), atol=1e-6)
    right = [
        answer["prediction"] == ("malignant", "benign")[kind]
        for answer, kind in zip(answers, benign[TESTED], strict=True)
    ]
    assert np.mean(right) > 0.9
