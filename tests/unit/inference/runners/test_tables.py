"""Models of real tables answer as their own libraries do: scikit-learn by skops, LightGBM, XGBoost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model

ROWS = 20


def columns(frame: pd.DataFrame) -> list[Field]:
    """A field for each column, under a name that a manifest allows."""
    fields = []
    for i, name in enumerate(frame.columns):
        if frame[name].dtype.kind == "O":
            values = sorted(set(frame[name]))
            fields.append(Field(f"c{i}", FieldKind.CATEGORY, "BYTES", categories=values, source=name))
        else:
            fields.append(Field(f"c{i}", FieldKind.NUMBER, "FP64", source=name))
    return fields


def arrays(frame: pd.DataFrame) -> dict[str, Any]:
    return {
        f"c{i}": np.array([text.encode() for text in frame[name]], dtype=object)
        if frame[name].dtype.kind == "O"
        else frame[name].to_numpy(np.float64)
        for i, name in enumerate(frame.columns)
    }


def matrix(width: int) -> list[Field]:
    return [Field("x", FieldKind.TENSOR, "FP64", [width])]


def classifier(format_: Format, file: str, inputs: list[Field], labels: list[str], datatype: str = "FP64") -> Manifest:
    outputs = [Output("probabilities", datatype, [len(labels)])]
    return Manifest(format_, file, Task.CLASSIFICATION, inputs, outputs, labels=labels)


@pytest.fixture(scope="module")
def people() -> tuple[pd.DataFrame, Any]:
    """Numbers and texts in the columns, and two classes that depend on both."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age (years)": rng.normal(40, 10, 400),
            "city": rng.choice(["Wien", "Köln", "Zürich"], 400).astype(object),
            "income": rng.normal(3, 1, 400),
        }
    )
    return frame, np.where((frame["city"] == "Köln") | (frame["income"] > 4), "yes", "no")


def test_a_pipeline_on_mixed_columns_answers_as_scikit_learn_does(tmp_path: Path, people: Any) -> None:
    """Columns are bound by name, in whatever order the manifest has them; the predicted label is an output, too."""
    frame, bought = people
    steps = ColumnTransformer(
        [("n", StandardScaler(), ["age (years)", "income"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["city"])]
    )
    pipeline = make_pipeline(steps, LogisticRegression()).fit(frame, bought)
    skops.io.dump(pipeline, tmp_path / "m.skops")
    manifest = classifier(Format.SKOPS, "m.skops", columns(frame)[::-1], ["no", "yes"])
    manifest.outputs.append(Output("label", "BYTES", source="prediction"))
    probabilities, labels = load_model(manifest, tmp_path, 1).run(arrays(frame[:ROWS]))
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(frame[:ROWS]), rtol=1e-12)
    assert [label.decode() for label in labels] == pipeline.predict(frame[:ROWS]).tolist()


def test_labels_in_another_order_than_the_classes_are_refused(tmp_path: Path, people: Any) -> None:
    """They would give each row the other's label."""
    frame, bought = people
    skops.io.dump(RandomForestClassifier(5).fit(frame[["income"]], bought), tmp_path / "m.skops")
    fields = [Field("income", FieldKind.NUMBER, "FP64")]
    with pytest.raises(ModelMismatchError, match="classes are no, yes, in this order; the labels are yes, no"):
        load_model(classifier(Format.SKOPS, "m.skops", fields, ["yes", "no"]), tmp_path, 1)


def test_a_text_pipeline_takes_texts(tmp_path: Path) -> None:
    """A vectorizer has neither columns nor a width."""
    texts = ["free prize now", "see you at lunch", "win a free phone", "the meeting is at ten"]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])
    skops.io.dump(pipeline, tmp_path / "m.skops")
    manifest = classifier(Format.SKOPS, "m.skops", [Field("text", FieldKind.TEXT, "BYTES")], ["ham", "spam"])
    [probabilities] = load_model(manifest, tmp_path, 1).run({"text": np.array([t.encode() for t in texts], object)})
    np.testing.assert_allclose(probabilities, pipeline.predict_proba(texts), rtol=1e-12)


def test_a_regression_on_a_matrix(tmp_path: Path) -> None:
    """A model that was fitted on a matrix without names takes one tensor."""
    x, y = load_diabetes(return_X_y=True)
    model = Ridge().fit(x, y)
    skops.io.dump(model, tmp_path / "m.skops")
    manifest = Manifest(Format.SKOPS, "m.skops", Task.REGRESSION, matrix(10), [Output("y", "FP64")])
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    np.testing.assert_allclose(answer, model.predict(x[:ROWS]), rtol=1e-12)


def test_a_classifier_of_several_targets_predicts(tmp_path: Path) -> None:
    """It has classes, and probabilities, for each of them; its predictions are one output."""
    x, y = load_iris(return_X_y=True)
    model = RandomForestClassifier(5).fit(x, np.stack([y, y > 0], axis=1))
    skops.io.dump(model, tmp_path / "m.skops")
    outputs = [Output("prediction", "INT64", [2])]
    manifest = Manifest(Format.SKOPS, "m.skops", Task.TENSOR, matrix(4), outputs)
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x})
    assert answer.tolist() == model.predict(x).tolist()


def test_an_unknown_output_is_refused_with_what_there_is(tmp_path: Path) -> None:
    """A regression has no probabilities."""
    x, y = load_diabetes(return_X_y=True)
    skops.io.dump(Ridge().fit(x, y), tmp_path / "m.skops")
    outputs = [Output("y", "FP64"), Output("probabilities", "FP64", [2])]
    manifest = Manifest(Format.SKOPS, "m.skops", Task.TENSOR, matrix(10), outputs)
    with pytest.raises(ModelMismatchError, match="can give prediction; the manifest's output 'y' is none"):
        load_model(manifest, tmp_path, 1)


def test_a_skops_file_with_a_function_is_refused(tmp_path: Path) -> None:
    """What is not known to be harmless is named, and not loaded."""
    skops.io.dump(make_pipeline(FunctionTransformer(columns), Ridge()), tmp_path / "m.skops")
    manifest = Manifest(Format.SKOPS, "m.skops", Task.REGRESSION, matrix(10), [Output("y", "FP64")])
    with pytest.raises(ModelMismatchError, match=r"not known to be harmless: .*columns"):
        load_model(manifest, tmp_path, 1)


def test_lightgbm_answers_as_it_does_itself(tmp_path: Path) -> None:
    """Both classes of a binary model, all of several, and a value; a matrix or columns by name."""
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    binary = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(frame, y)
    binary.booster_.save_model(tmp_path / "binary.txt")
    # LightGBM writes an underscore for each space in a name.
    fields = columns(frame.rename(columns=lambda name: name.replace(" ", "_")))
    manifest = classifier(Format.LIGHTGBM, "binary.txt", fields, ["malignant", "benign"])
    [answer] = load_model(manifest, tmp_path, 1).run(arrays(frame[:ROWS]))
    np.testing.assert_allclose(answer, binary.predict_proba(frame[:ROWS]), rtol=1e-12)

    x, y = load_iris(return_X_y=True)
    several = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1).fit(x, y)
    several.booster_.save_model(tmp_path / "several.txt")
    manifest = classifier(Format.LIGHTGBM, "several.txt", matrix(4), ["a", "b", "c"])
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    np.testing.assert_allclose(answer, several.booster_.predict(x[:ROWS]), rtol=1e-12)

    x, y = load_diabetes(return_X_y=True)
    value = lightgbm.LGBMRegressor(n_estimators=10, verbose=-1).fit(x, y)
    value.booster_.save_model(tmp_path / "value.txt")
    manifest = Manifest(Format.LIGHTGBM, "value.txt", Task.REGRESSION, matrix(10), [Output("y", "FP64")])
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    np.testing.assert_allclose(answer, value.booster_.predict(x[:ROWS]), rtol=1e-12)


def test_lightgbm_takes_categories_as_texts(tmp_path: Path, people: Any) -> None:
    """The file has the categories that it was fitted with; one that it does not know counts as missing."""
    frame, bought = people
    categorical = frame.rename(columns={"age (years)": "age"}).astype({"city": "category"})
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(categorical, bought)
    model.booster_.save_model(tmp_path / "m.txt")
    plain = frame.rename(columns={"age (years)": "age"})
    manifest = classifier(Format.LIGHTGBM, "m.txt", columns(plain), ["no", "yes"])
    loaded = load_model(manifest, tmp_path, 1)
    for rows in (plain[:ROWS], plain[5:6]):  # one row has one category only
        [answer] = loaded.run(arrays(rows))
        np.testing.assert_allclose(answer, model.predict_proba(categorical.loc[rows.index]), rtol=1e-12)


@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost_answers_as_it_does_itself(tmp_path: Path, suffix: str) -> None:
    """Both classes of a binary model, all of several, and a value; a matrix or columns by name."""
    frame, y = load_breast_cancer(return_X_y=True, as_frame=True)
    binary = xgboost.XGBClassifier(n_estimators=10).fit(frame, y)
    binary.save_model(tmp_path / f"binary.{suffix}")
    manifest = classifier(Format.XGBOOST, f"binary.{suffix}", columns(frame), ["malignant", "benign"], "FP32")
    [answer] = load_model(manifest, tmp_path, 1).run(arrays(frame[:ROWS]))
    np.testing.assert_allclose(answer, binary.predict_proba(frame[:ROWS]), rtol=1e-6)

    x, y = load_iris(return_X_y=True)
    several = xgboost.XGBClassifier(n_estimators=10).fit(x, y)
    several.save_model(tmp_path / f"several.{suffix}")
    manifest = classifier(Format.XGBOOST, f"several.{suffix}", matrix(4), ["a", "b", "c"], "FP32")
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    np.testing.assert_allclose(answer, several.predict_proba(x[:ROWS]), rtol=1e-6)

    x, y = load_diabetes(return_X_y=True)
    value = xgboost.XGBRegressor(n_estimators=10).fit(x, y)
    value.save_model(tmp_path / f"value.{suffix}")
    manifest = Manifest(Format.XGBOOST, f"value.{suffix}", Task.REGRESSION, matrix(10), [Output("y", "FP32")])
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    np.testing.assert_allclose(answer, value.predict(x[:ROWS]), rtol=1e-6)


def test_xgboost_that_was_stopped_early_answers_as_it_does_itself(tmp_path: Path) -> None:
    """With the trees up to the best, though its file has later ones; a booster of ``xgboost.train`` with all."""
    x, y = load_breast_cancer(return_X_y=True)
    manifest = classifier(Format.XGBOOST, "m.ubj", matrix(30), ["malignant", "benign"], "FP32")
    model = xgboost.XGBClassifier(n_estimators=100, early_stopping_rounds=5)
    model.fit(x[::2], y[::2], eval_set=[(x[1::2], y[1::2])], verbose=False).save_model(tmp_path / "m.ubj")
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    np.testing.assert_allclose(answer, model.predict_proba(x[:ROWS]), rtol=1e-6)

    test = xgboost.DMatrix(x[1::2], y[1::2])
    trained = xgboost.train(
        {"objective": "binary:logistic"},
        xgboost.DMatrix(x[::2], y[::2]),
        100,
        evals=[(test, "test")],
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    trained.save_model(tmp_path / "m.ubj")
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[1::2]})
    np.testing.assert_allclose(answer[:, 1], trained.predict(test), rtol=1e-6)


@pytest.mark.parametrize("estimator", [xgboost.XGBRegressor, xgboost.XGBClassifier])
def test_xgboost_of_several_targets(tmp_path: Path, estimator: Any) -> None:
    """They are one prediction, also if each is a class of its own."""
    x, y = load_breast_cancer(return_X_y=True)
    model = estimator(n_estimators=5).fit(x, np.stack([y, x[:, 0] > 14], axis=1))
    model.save_model(tmp_path / "m.ubj")
    outputs = [Output("prediction", "FP32", [2])]
    manifest = Manifest(Format.XGBOOST, "m.ubj", Task.TENSOR, matrix(30), outputs)
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    direct = model.predict_proba if estimator is xgboost.XGBClassifier else model.predict
    np.testing.assert_allclose(answer, direct(x[:ROWS]), rtol=1e-5)


def test_xgboost_takes_the_numbers_of_categories(tmp_path: Path, people: Any) -> None:
    """Its file does not give a text its number, so texts are refused and the numbers are taken as they are."""
    frame, bought = people
    categorical = frame.astype({"city": "category"})
    model = xgboost.XGBClassifier(n_estimators=20, enable_categorical=True).fit(categorical, bought == "yes")
    model.save_model(tmp_path / "m.ubj")
    with pytest.raises(ModelMismatchError, match="takes numbers for city"):
        load_model(classifier(Format.XGBOOST, "m.ubj", columns(frame), ["no", "yes"], "FP32"), tmp_path, 1)
    numbers = frame.assign(city=categorical["city"].cat.codes)
    loaded = load_model(classifier(Format.XGBOOST, "m.ubj", columns(numbers), ["no", "yes"], "FP32"), tmp_path, 1)
    for rows in (numbers[:ROWS], numbers[5:6]):
        [answer] = loaded.run(arrays(rows))
        np.testing.assert_allclose(answer, model.predict_proba(categorical.loc[rows.index]), rtol=1e-6)


def test_texts_for_a_number_are_refused_at_load(tmp_path: Path) -> None:
    """The warm-up finds it, and the reason names the input."""
    x, y = load_iris(return_X_y=True)
    lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(x, y).booster_.save_model(tmp_path / "m.txt")
    fields = [Field("x", FieldKind.TENSOR, "BYTES", [4])]
    with pytest.raises(ModelMismatchError, match="takes numbers"):
        load_model(classifier(Format.LIGHTGBM, "m.txt", fields, ["a", "b", "c"]), tmp_path, 1)


def test_a_python_model_is_what_its_class_says(tmp_path: Path) -> None:
    """It gets its folder and arrays by name, and may import what lies beside it."""
    (tmp_path / "helper.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "model.py").write_text(
        "from helper import twice\n"
        "class Model:\n"
        "    def load(self, folder):\n"
        "        self.offset = float((folder / 'offset.txt').read_text())\n"
        "    def predict(self, inputs):\n"
        "        return {'y': twice(inputs['x']) + self.offset}\n"
    )
    (tmp_path / "offset.txt").write_text("0.5")
    fields = [Field("x", FieldKind.NUMBER, "FP32")]
    manifest = Manifest(Format.PYTHON, "model.py", Task.REGRESSION, fields, [Output("y", "FP32")])
    model: LoadedModel = load_model(manifest, tmp_path, 1)
    np.testing.assert_array_equal(model.run({"x": np.array([1, 2], np.float32)})[0], np.array([2.5, 4.5], np.float32))


def test_a_python_model_tells_its_progress(tmp_path: Path) -> None:
    """Also one whose class has slots, which cannot be given anything to call, is served."""
    for slots, expected in (("", 3), ("__slots__ = ()", 0)):
        (tmp_path / "model.py").write_text(
            "class Model:\n"
            f"    {slots}\n"
            "    def load(self, folder): pass\n"
            "    def predict(self, inputs):\n"
            "        for part in range(3 if hasattr(self, 'tell_progress') else 0):\n"
            "            self.tell_progress()\n"
            "        return {'y': inputs['x']}\n"
        )
        fields = [Field("x", FieldKind.NUMBER, "FP32")]
        manifest = Manifest(Format.PYTHON, "model.py", Task.REGRESSION, fields, [Output("y", "FP32")])
        model: LoadedModel = load_model(manifest, tmp_path, 1)
        told: list[int] = []
        model.tell_progress = lambda told=told: told.append(1)  # type: ignore[misc]
        model.run({"x": np.array([1], np.float32)})
        assert len(told) == expected


def test_a_pickled_model_answers_too(tmp_path: Path) -> None:
    """Where the operator allows it; the loader asks."""
    x, y = load_diabetes(return_X_y=True)
    model = Ridge().fit(x, y)
    joblib.dump(model, tmp_path / "m.joblib")
    manifest = Manifest(Format.JOBLIB, "m.joblib", Task.REGRESSION, matrix(10), [Output("y", "FP64")])
    [answer] = load_model(manifest, tmp_path, 1).run({"x": x[:ROWS]})
    np.testing.assert_allclose(answer, model.predict(x[:ROWS]), rtol=1e-12)
