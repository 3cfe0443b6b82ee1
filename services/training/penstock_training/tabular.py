"""Tabular: a classifier or a regressor of the rows of any table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from penstock_common.manifest import Batching, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_training.artifact import FILES, save
from penstock_training.evaluate import classification, regression, write_report
from penstock_training.fit import Progress, fit
from penstock_training.pipeline import HELD_OUT, Trained
from penstock_training.table_file import read_table_file
from penstock_training.tabular_network import TabularClassifier, TabularRegressor
from penstock_training.tabular_rows import Kind, Rows, read_rows

EPOCHS = 40
#: Fields that the description names.
_SHOWN = 10


def train(
    name: str,
    data: Path,
    target: str | None,
    ignored: Sequence[str],
    kind: Kind | None,
    folder: Path,
    format_: Format | None,
    seed: int,
    progress: Progress,
) -> Trained:
    """Train a model of a CSV or TSV file.

    Args:
        target: the column to predict; None for the last one.
        ignored: columns that the model does not get.
        kind: None to tell by the target: numbers of more than two values are estimated, all else is classified.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    rows = read_rows(read_table_file(data), target, ignored, kind)
    return train_table(name, rows, folder, format_ or Format.TORCH_EXPORT, seed, progress)


def train_table(name: str, rows: Rows, folder: Path, format_: Format, seed: int, progress: Progress) -> Trained:
    """Train, evaluate and save a model of the rows of a table."""
    numbers, indices = _tensors(rows)
    count = len(rows.target)
    target = torch.from_numpy(rows.target)
    train_rows, test_rows = train_test_split(
        np.arange(count), test_size=HELD_OUT, stratify=rows.target if rows.labels else None, random_state=seed
    )
    torch.manual_seed(seed)
    model, forward, loss = _network(rows, numbers[train_rows], target[train_rows])
    fit(
        model,
        forward,
        lambda chosen: ((numbers[chosen], indices[chosen]), target[chosen]),
        train_rows,
        loss,
        epochs=EPOCHS, learning_rate=0.01, batch_size=128, seed=seed, progress=progress,
    )  # fmt: skip
    with torch.no_grad():
        answers = model(numbers[test_rows], indices[test_rows]).numpy()
    truth, seen = rows.target[test_rows], rows.target[train_rows]
    report = classification(answers, truth, rows.labels, seen) if rows.labels else regression(answers, truth, seen)
    report["left_out"] = rows.left_out
    batch = torch.export.Dim("batch", min=1, max=4096)
    save(folder, model, _manifest(rows, format_), (numbers[:4], indices[:4]), ({0: batch}, {0: batch}))
    write_report(folder, name, report)
    primary, higher_is_better = ("f1_macro", True) if rows.labels else ("mae", False)
    return Trained(report, primary, higher_is_better, rows.digest, count, {"epochs": EPOCHS, "seed": seed})


def _tensors(rows: Rows) -> tuple[Tensor, Tensor]:
    """Return what the pre-processing ``tabular`` makes of the columns."""
    categorical = [column.values for column in rows.columns if column.field.kind is FieldKind.CATEGORY]
    numeric = [column.values for column in rows.columns if column.field.kind is not FieldKind.CATEGORY]
    return _stacked(numeric, len(rows.target), np.float32), _stacked(categorical, len(rows.target), np.int64)


def _stacked(columns: list[NDArray[Any]], rows: int, datatype: Any) -> Tensor:
    return torch.from_numpy(np.stack(columns, axis=1).astype(datatype) if columns else np.zeros((rows, 0), datatype))


def _network(
    rows: Rows, numbers: Tensor, target: Tensor
) -> tuple[nn.Module, Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """Return the network, what of it is trained, and the loss.

    Args:
        numbers, target: of the rows to train on.
    """
    mean = numbers.mean(dim=0)
    std = numbers.std(dim=0).clamp(min=1e-6) if len(mean) else torch.empty(0)
    sizes = [len(column.field.categories or []) for column in rows.columns if column.field.kind is FieldKind.CATEGORY]
    if rows.labels:
        classifier = TabularClassifier(mean, std, sizes, len(rows.labels))
        return classifier, classifier.answer, nn.functional.cross_entropy
    regressor = TabularRegressor(mean, std, sizes, float(target.mean()), float(target.std()) or 1.0)
    spread = float(regressor.target[1])
    return (
        regressor,
        regressor,
        lambda predicted, truth: nn.functional.smooth_l1_loss(predicted / spread, truth / spread),
    )


def _manifest(rows: Rows, format_: Format) -> Manifest:
    inputs = [column.field for column in rows.columns]
    names = _listed([column.field.name for column in rows.columns])
    if rows.labels:
        task, output = Task.CLASSIFICATION, Output("probabilities", "FP32", [len(rows.labels)], rows.target_name)
    else:
        task, output = Task.REGRESSION, Output("value", "FP32", [], rows.target_name)
    return Manifest(
        format=format_,
        file=FILES[format_],
        task=task,
        inputs=inputs,
        outputs=[output],
        labels=rows.labels,
        preprocess=Preprocess("tabular"),
        batching=Batching(max_batch_size=128),
        description=f"Estimates {rows.target_name} from {names}.",
        examples=[{column.field.name: column.typical for column in rows.columns}],
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
