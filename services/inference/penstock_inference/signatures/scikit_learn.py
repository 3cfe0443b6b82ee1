"""Models of scikit-learn: their columns, and what the steps that were fitted on each column say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Format, Task
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.runners.scikit_learn import classes_of, load_estimator, load_pickled_estimator
from penstock_inference.runners.tables import Table
from penstock_inference.runners.texts import encoded, text_column

#: Of a text without another bound.
_MAX_LENGTH = 10_000
#: Of the run that shows what a prediction is.
_ROWS = 2
_DATATYPES = {dtype: name for name, dtype in NUMPY_DTYPES.items()}


def read(path: Path, format_: Format) -> FileSignature:
    """Return the signature of a fitted estimator or pipeline.

    Raises:
        ModelMismatchError: it has no method that gives an output.
    """
    estimator = load_pickled_estimator(path) if format_ is Format.JOBLIB else load_estimator(path)
    names = getattr(estimator, "feature_names_in_", None)
    width = getattr(estimator, "n_features_in_", None)
    if names is not None:
        encoders = dict(_fitted_on(estimator))
        inputs = [_column(str(name), encoders.get(str(name))) for name in names]
    elif width is not None:
        inputs = [FoundInput(None, "FP64", [int(width)], FieldKind.TENSOR)]
    else:
        inputs = [FoundInput("text", "BYTES", [], FieldKind.TEXT, max_length=_MAX_LENGTH)]
        inputs[0].note = "the file does not say what it takes; it seems to be a text, whose max_length is a guess"
    signature = FileSignature(inputs, description=f"scikit-learn, {_name(estimator)}")
    classes = classes_of(estimator)
    if classes is not None and hasattr(estimator, "predict_proba"):
        signature.task = Task.CLASSIFICATION
        signature.labels = [str(label) for label in classes]
        signature.numbered = not all(isinstance(label, str) for label in classes)
        signature.outputs = [FoundOutput("probabilities", "FP64", [len(signature.labels)], probabilities=True)]
    elif hasattr(estimator, "predict"):
        found = _prediction(estimator, Table(names, width), inputs)
        is_number = found.datatype in ("FP32", "FP64") and not found.shape
        signature.outputs = [found]
        signature.task = Task.REGRESSION if is_number and not hasattr(estimator, "classes_") else Task.TENSOR
    elif hasattr(estimator, "transform"):
        features = len(estimator.get_feature_names_out())
        signature.task, signature.outputs = Task.TENSOR, [FoundOutput("transformed", "FP64", [features])]
    else:
        raise ModelMismatchError("The model has none of the methods predict, predict_proba and transform.")
    return signature


def _prediction(estimator: Any, table: Table, inputs: list[FoundInput]) -> FoundOutput:
    """Return what a run with zeros shows; one number, if the model does not take them."""
    try:
        answer = encoded(np.asarray(estimator.predict(table.frame([_zeros(found) for found in inputs]))))
    except Exception:  # only a guess is lost
        return FoundOutput("prediction", "FP64", [])
    return FoundOutput("prediction", _DATATYPES.get(answer.dtype, "FP64"), list(answer.shape[1:]))


def _zeros(found: FoundInput) -> NDArray[Any]:
    """Return rows of zeros, of the first of the categories, or of a word."""
    if found.datatype == "BYTES":
        return text_column([(found.categories or ["word"])[0]] * _ROWS)
    return np.zeros((_ROWS, *(found.shape or [])))


def _name(estimator: Any) -> str:
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return type(last).__name__


def _fitted_on(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Yield each column that a ColumnTransformer at the start of the pipeline works on, with what it does there."""
    first = estimator.steps[0][1] if hasattr(estimator, "steps") else estimator
    for _, transformer, columns in getattr(first, "transformers_", []):
        for position, name in enumerate([columns] if isinstance(columns, str) else list(columns)):
            step = transformer.steps[-1][1] if hasattr(transformer, "steps") else transformer
            categories = getattr(step, "categories_", None)
            yield str(name), (None if categories is None else categories[position].tolist(), step)


def _column(name: str, fitted: tuple[list[Any] | None, Any] | None) -> FoundInput:
    categories, step = fitted or (None, None)
    if categories and all(isinstance(category, str) for category in categories):
        found = FoundInput(name, "BYTES", [], FieldKind.CATEGORY, categories=categories)
        if getattr(step, "handle_unknown", "error") != "error":
            found.note = "other texts could be allowed with kind: text, since the encoder ignores what it does not know"
        return found
    if hasattr(step, "vocabulary_"):
        return FoundInput(name, "BYTES", [], FieldKind.TEXT, max_length=_MAX_LENGTH, note="max_length is a guess")
    untouched = fitted is None or isinstance(step, str)  # "passthrough" or "drop"
    note = "the file does not say the type of the column; a number is a guess" if untouched else ""
    return FoundInput(name, "FP64", [], FieldKind.NUMBER, note=note)
