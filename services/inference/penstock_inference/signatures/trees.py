"""Boosted trees: columns, categories and the objective, which says what the model gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Task


def read_lightgbm(path: Path) -> FileSignature:
    """Return the signature of the text file of ``Booster.save_model``."""
    import lightgbm

    from penstock_inference.runners.lightgbm import BINARY, SEVERAL, column_names, objective_of

    booster = lightgbm.Booster(model_file=str(path))
    model = booster.dump_model(num_iteration=1)
    objective = objective_of(model)
    names = column_names(booster)
    # pandas' categorical columns, in the order of the columns; the file does not say which columns they are.
    categories = iter(booster.pandas_categorical or [])
    infos = model["feature_infos"]
    inputs = []
    for name in names or []:
        is_category = "values" in infos.get(name, {}) and infos[name]["values"]
        inputs.append(_column(name, "FP64", next(categories, None) if is_category else None))
    classes = _classes(objective, SEVERAL, BINARY, int(model.get("num_class", 1)))
    return _signature(inputs, booster.num_feature(), "FP64", classes, f"LightGBM, objective {objective}")


def read_xgboost(path: Path) -> FileSignature:
    """Return the signature of the file of ``Booster.save_model``."""
    import xgboost

    from penstock_inference.runners.xgboost import BINARY, SEVERAL, targets_of

    booster = xgboost.Booster()
    booster.load_model(path)
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    names = booster.feature_names
    inputs = None if names is None else [_column(name, "FP32", None) for name in names]
    for found, kind in zip(inputs or [], booster.feature_types or [], strict=False):
        if kind == "c":
            found.note = "a categorical column: send the number of the category"
    targets = targets_of(learner)
    classes = _classes(objective, SEVERAL, (BINARY,), int(learner["learner_model_param"]["num_class"]))
    signature = _signature(inputs, booster.num_features(), "FP32", classes, f"XGBoost, objective {objective}")
    if targets > 1:
        signature.task, signature.labels, signature.numbered = Task.TENSOR, [], False
        signature.outputs = [FoundOutput("prediction", "FP32", [targets])]
    return signature


def _classes(objective: str, several: str, two: Sequence[str], count: int) -> int:
    """Return how many classes there are probabilities of; 0 if the model predicts a value."""
    if objective.startswith(several):
        return count
    return 2 if objective in two else 0


def _column(name: str, datatype: str, categories: list[Any] | None) -> FoundInput:
    if categories and all(isinstance(category, str) for category in categories):
        return FoundInput(name, "BYTES", [], FieldKind.CATEGORY, categories=categories)
    return FoundInput(name, datatype, [], FieldKind.NUMBER)


def _signature(
    columns: list[FoundInput] | None, width: int, datatype: str, classes: int, description: str
) -> FileSignature:
    inputs = columns or [FoundInput(None, datatype, [width], FieldKind.TENSOR)]
    if not classes:
        outputs = [FoundOutput("prediction", datatype, [])]
        return FileSignature(inputs, outputs, task=Task.REGRESSION, description=description)
    return FileSignature(
        inputs,
        [FoundOutput("probabilities", datatype, [classes], probabilities=True)],
        task=Task.CLASSIFICATION,
        labels=[str(number) for number in range(classes)],
        numbered=True,
        description=description,
    )
