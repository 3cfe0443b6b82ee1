"""Text: a classifier of any labelled texts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.preprocessing.steps import preprocess
from penstock_common.service import Service
from penstock_training.artifact import FILES, save
from penstock_training.evaluate import classification, write_report
from penstock_training.fit import Progress, fit
from penstock_training.labelled_texts import Texts, clean, read_texts
from penstock_training.ngram_classifier import BUCKETS, ORDERS, ManyLabels, TwoLabels
from penstock_training.pipeline import HELD_OUT, Trained
from penstock_training.table_file import read_table_file

#: The weight of a label's rows is this power of how rare it is, so that both frequent and rare labels matter.
_WEIGHT_EXPONENT = 0.5
#: A batch has as many rows as make this many steps of an epoch, 32 at least.
_MOST_STEPS = 600
_MULTIPLE = 16
_ROWS_AT_ONCE = 1024
#: Fewest and most bytes of a text that a model reads.
_BYTES = (512, 2048)
_MAX_LENGTH = 20_000


def train(
    name: str,
    data: Path,
    text: str | None,
    label: str | None,
    folder: Path,
    format_: Format | None,
    seed: int,
    progress: Progress,
) -> Trained:
    """Train a classifier of the texts of a CSV or TSV file.

    Args:
        text: the column of the texts; None for one that is named so, or is not the labels.
        label: the column of the labels; None for one that is named so, or has the fewer different values of two.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    texts = clean(read_texts(read_table_file(data), text, label))
    longest = max(len(t.encode()) for t in texts.texts)
    most = min(max(-(-longest // _MULTIPLE) * _MULTIPLE, _BYTES[0]), _BYTES[1])
    manifest = text_manifest(
        format_ or Format.TORCH_EXPORT,
        texts.labels,
        Field("text", FieldKind.TEXT, "BYTES", max_length=_MAX_LENGTH, description=f"The first {most} bytes are read."),
        most,
        f"Says of a text which of {len(texts.labels)} labels it has.",
        ["A text of the kind that the model was trained on."],
    )
    return train_texts(name, texts, manifest, folder, seed, progress, primary="f1_macro")


def text_manifest(
    format_: Format, labels: list[str], field: Field, max_bytes: int, description: str, examples: list[str]
) -> Manifest:
    """Return the manifest of a classifier of texts of at most ``max_bytes``."""
    return Manifest(
        format=format_,
        file=FILES[format_],
        task=Task.CLASSIFICATION,
        inputs=[field],
        outputs=[Output("probabilities", "FP32", [len(labels)], f"Probabilities of {_listed(labels)}.")],
        labels=labels,
        preprocess=Preprocess("utf8-bytes", {"max_bytes": max_bytes, "multiple": _MULTIPLE}),
        batching=Batching(max_batch_size=128),
        service=Service.TEXT_CLASSIFICATION,
        description=description,
        examples=[{"text": text} for text in examples],
    )


def _listed(labels: list[str]) -> str:
    return f"{', '.join(labels[:-1])} and {labels[-1]}" if len(labels) <= 5 else f"the {len(labels)} labels"


def train_texts(
    name: str, data: Texts, manifest: Manifest, folder: Path, seed: int, progress: Progress, *, primary: str
) -> Trained:
    """Train, evaluate and save a classifier of cleaned texts.

    Args:
        manifest: of ``text_manifest``.
        primary: the metric that decides about promotion.
    """
    texts, truth = data.texts, np.array(data.truth)
    rest, test_rows = train_test_split(np.arange(len(texts)), test_size=HELD_OUT, stratify=truth, random_state=seed)
    calibration = max(math.ceil(0.1 * len(rest)), len(data.labels))
    train_rows, calibration_rows = train_test_split(
        rest, test_size=calibration, stratify=truth[rest], random_state=seed
    )

    def encode(rows: NDArray[np.int64]) -> Tensor:
        column = np.empty(len(rows), dtype=np.object_)
        column[:] = [texts[i].encode() for i in rows]
        return torch.from_numpy(preprocess(manifest, {"text": column})[0])

    torch.manual_seed(seed)
    model = TwoLabels() if len(data.labels) == 2 else ManyLabels(len(data.labels))
    loss, targets = _loss(truth, len(data.labels))
    epochs = 15 if len(texts) > 1000 else 40
    fit(
        model,
        model.log_odds,
        lambda rows: ((encode(rows),), targets[rows]),
        train_rows,
        loss,
        epochs=epochs,
        learning_rate=0.2,
        batch_size=max(32, len(train_rows) // _MOST_STEPS),
        seed=seed,
        progress=progress,
        weight_decay=3e-2,
    )
    with torch.no_grad():
        log_odds = _in_parts(model.log_odds, encode, calibration_rows)
    model.calibrate(log_odds, truth[calibration_rows])
    with torch.no_grad():
        probabilities = _in_parts(model, encode, test_rows)
    report = classification(probabilities, truth[test_rows], data.labels, truth[rest])
    report["left_out"] = data.left_out
    dynamic = ({0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim.AUTO},)
    save(folder, model, manifest, (encode(train_rows[:4]),), dynamic)
    write_report(folder, name, report)
    parameters = {"orders": list(ORDERS), "buckets": BUCKETS, "epochs": epochs, "seed": seed}
    return Trained(report, primary, True, data.digest, len(texts), parameters)


def _loss(truth: NDArray[np.int64], labels: int) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """Return the loss and its targets; the rarer a label is, the larger is its weight."""
    counts = np.bincount(truth, minlength=labels)
    if labels == 2:
        weight = torch.tensor(float((int(counts[0]) / int(counts[1])) ** _WEIGHT_EXPONENT))
        return (
            lambda odds, second: nn.functional.binary_cross_entropy_with_logits(odds, second, pos_weight=weight),
            torch.tensor(truth, dtype=torch.float32),
        )
    weights = torch.tensor((counts.mean() / counts) ** _WEIGHT_EXPONENT, dtype=torch.float32)
    return lambda odds, label: nn.functional.cross_entropy(odds, label, weight=weights), torch.tensor(truth)


def _in_parts(
    call: Callable[[Tensor], Tensor], encode: Callable[[NDArray[np.int64]], Tensor], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the results of a call for some rows, computed for a bounded number of them at a time."""
    parts = np.array_split(rows, -(-len(rows) // _ROWS_AT_ONCE))
    return np.concatenate([call(encode(part)).numpy() for part in parts])
