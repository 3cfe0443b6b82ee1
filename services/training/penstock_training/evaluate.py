"""Evaluates predictions of held-out rows, and writes the report, which becomes part of a version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binned_statistic  # type: ignore[import-untyped]
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
    root_mean_squared_error,
)

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def classification(
    probabilities: NDArray[Any], truth: NDArray[Any], labels: list[str], seen: NDArray[Any]
) -> dict[str, Any]:
    """Compare ``probabilities [N, C]`` with the class indices ``truth [N]``.

    Args:
        seen: class indices of the rows that the model was trained on; the most frequent is the baseline's answer.

    Returns:
        ``metrics`` (accuracy, macro F1, expected calibration error, and F1 per label if there are at most
        three), ``confusion`` [true, predicted], ``per_label``, ``calibration`` (10 bins of confidence) and ``baseline``.
    """
    predicted = probabilities.argmax(axis=1)
    indices = np.arange(len(labels))
    precision, recall, f1, rows = precision_recall_fscore_support(truth, predicted, labels=indices, zero_division=0.0)
    bins = _calibration(probabilities.max(axis=1), predicted == truth)
    error = sum(b["rows"] * abs(b["confidence"] - b["accuracy"]) for b in bins) / len(truth)
    f1_by_label = {f"f1_{label}": float(f1[i]) for i, label in enumerate(labels)}
    return {
        "metrics": {
            "accuracy": float(accuracy_score(truth, predicted)),
            "f1_macro": float(f1.mean()),
            "calibration_error": error,
            **(f1_by_label if len(labels) <= 3 else {}),
        },
        "labels": labels,
        "confusion": confusion_matrix(truth, predicted, labels=indices).tolist(),
        "per_label": {
            label: {
                "precision": float(precision[i]), "recall": float(recall[i]), "f1": float(f1[i]), "rows": int(rows[i])
            }
            for i, label in enumerate(labels)
        },
        "calibration": bins,
        "baseline": _majority(truth, labels, seen),
    }  # fmt: skip


def _majority(truth: NDArray[Any], labels: list[str], seen: NDArray[Any]) -> dict[str, Any]:
    """Return what an answer costs that is the same for every row."""
    answer = int(np.bincount(seen, minlength=len(labels)).argmax())
    always = np.full(len(truth), answer)
    f1 = f1_score(truth, always, labels=np.arange(len(labels)), average="macro", zero_division=0.0)
    return {
        "answer": labels[answer],
        "metrics": {"accuracy": float(accuracy_score(truth, always)), "f1_macro": float(f1)},
    }


def _calibration(confidence: NDArray[Any], right: NDArray[Any]) -> list[dict[str, Any]]:
    """Return mean confidence, accuracy and number of rows for each bin of a reliability diagram that has rows.

    scikit-learn's ``calibration_curve`` does not return the numbers of rows, which the calibration error needs.
    """
    values = [confidence, right.astype(float)]
    (stated, observed), _, _ = binned_statistic(confidence, values, "mean", bins=10, range=(0.0, 1.0))
    rows, _, _ = binned_statistic(confidence, None, "count", bins=10, range=(0.0, 1.0))
    return [
        {"confidence": float(stated[i]), "accuracy": float(observed[i]), "rows": int(rows[i])}
        for i in np.flatnonzero(rows)
    ]


def regression(predicted: NDArray[Any], truth: NDArray[Any], seen: NDArray[Any]) -> dict[str, Any]:
    """Compare values ``[N]``: mean absolute error, root mean square error, R², quantiles of the residuals.

    Args:
        seen: values of the rows that the model was trained on; their mean is the baseline's answer.
    """
    mean = float(seen.mean())
    return {
        "metrics": _errors(predicted, truth),
        "residual_quantiles": {str(q): float(np.quantile(predicted - truth, q)) for q in _QUANTILES},
        "baseline": {"answer": mean, "metrics": _errors(np.full(len(truth), mean), truth)},
    }


def _errors(predicted: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    return {
        "mae": float(mean_absolute_error(truth, predicted)),
        "rmse": float(root_mean_squared_error(truth, predicted)),
        "r2": float(r2_score(truth, predicted)),
    }


def baseline_answer(report: dict[str, Any]) -> str:
    """Return the baseline's answer for people: a label, or a number of six digits."""
    answer = report["baseline"]["answer"]
    return f"{answer:.6g}" if isinstance(answer, float) else str(answer)


def write_report(folder: Path, model: str, report: dict[str, Any]) -> None:
    """Write ``report.json`` for programs and ``report.md`` for people."""
    (folder / "report.json").write_text(json.dumps(report, indent=2))
    baseline = report["baseline"]["metrics"]
    lines = [f"# {model}: held-out evaluation", "", "| metric | value | baseline |", "|---|---|---|"]
    for name, value in report["metrics"].items():
        lines.append(f"| {name} | {value:.4f} | {f'{baseline[name]:.4f}' if name in baseline else ''} |")
    lines += ["", f"The baseline's answer is {baseline_answer(report)} for every row."]
    if "confusion" in report:
        labels = report["labels"]
        lines += ["", "## Confusion (rows: true, columns: predicted)", "", "| | " + " | ".join(labels) + " |"]
        lines += ["|---" * (len(labels) + 1) + "|"]
        for label, row in zip(labels, report["confusion"], strict=True):
            lines.append(f"| **{label}** | " + " | ".join(map(str, row)) + " |")
        lines += ["", "## Labels", "", "| label | precision | recall | F1 | rows |", "|---|---|---|---|---|"]
        lines += [
            f"| {label} | {of['precision']:.4f} | {of['recall']:.4f} | {of['f1']:.4f} | {of['rows']} |"
            for label, of in report["per_label"].items()
        ]
        lines += ["", "## Calibration", "", "| stated confidence | observed accuracy | rows |", "|---|---|---|"]
        lines += [f"| {b['confidence']:.3f} | {b['accuracy']:.3f} | {b['rows']} |" for b in report["calibration"]]
    if "residual_quantiles" in report:
        lines += ["", "## Residuals", "", "| quantile | residual |", "|---|---|"]
        lines += [f"| {q} | {v:.3f} |" for q, v in report["residual_quantiles"].items()]
    (folder / "report.md").write_text("\n".join(lines) + "\n")
