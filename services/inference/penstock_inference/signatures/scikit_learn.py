"""Models of scikit-learn: their columns, and what the steps that were fitted on each column say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Format, Task
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.runners.scikit_learn import load_estimator, load_pickled_estimator

#: Of a text without another bound.
_MAX_LENGTH = 10_000


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
    classes = getattr(estimator, "classes_", None)
    if classes is not None and hasattr(estimator, "predict_proba"):
        signature.task = Task.CLASSIFICATION
        signature.labels = [str(label) for label in np.asarray(classes).tolist()]
        signature.numbered = not all(isinstance(label, str) for label in np.asarray(classes).tolist())
        signature.outputs = [FoundOutput("probabilities", "FP64", [len(signature.labels)], probabilities=True)]
    elif hasattr(estimator, "predict"):
        signature.outputs = [_prediction(estimator, classes)]
        signature.task = Task.REGRESSION if signature.outputs[0].datatype == "FP64" and classes is None else Task.TENSOR
    elif hasattr(estimator, "transform"):
        features = len(estimator.get_feature_names_out())
        signature.task, signature.outputs = Task.TENSOR, [FoundOutput("transformed", "FP64", [features])]
    else:
        raise ModelMismatchError("The model has none of the methods predict, predict_proba and transform.")
    return signature


def _prediction(estimator: Any, classes: Any) -> FoundOutput:
    if classes is not None:
        kind = np.asarray(classes).dtype.kind
        return FoundOutput("prediction", "BYTES" if kind in "OUS" else "INT64", [])
    is_cluster = hasattr(estimator, "cluster_centers_")
    return FoundOutput("prediction", "INT32" if is_cluster else "FP64", [])


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
