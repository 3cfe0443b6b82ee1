"""Held-out evaluation, and the report that becomes part of a version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def classification(probabilities: NDArray[Any], truth: NDArray[Any], labels: list[str]) -> dict[str, Any]:
    """Metrics of ``probabilities [N, C]`` against class indices ``truth [N]``.

    Returns:
        ``metrics`` (accuracy, macro and per-label F1, expected calibration error),
        ``confusion`` [true, predicted], ``per_label`` and ``calibration`` (10 bins of confidence).
    """
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    per_label = {}
    for i, label in enumerate(labels):
        hits = confusion[i, i]
        precision = hits / max(1, confusion[:, i].sum())
        recall = hits / max(1, confusion[i].sum())
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        per_label[label] = {"precision": precision, "recall": recall, "f1": f1, "rows": int(confusion[i].sum())}
    confidence = probabilities.max(axis=1)
    right = predicted == truth
    bins = []
    error = 0.0
    for low in np.arange(0.0, 1.0, 0.1):
        inside = (confidence > low) & (confidence <= low + 0.1)
        if inside.any():
            stated, observed = float(confidence[inside].mean()), float(right[inside].mean())
            error += float(inside.mean()) * abs(stated - observed)
            bins.append({"confidence": stated, "accuracy": observed, "rows": int(inside.sum())})
    f1s = {f"f1_{label}": float(scores["f1"]) for label, scores in per_label.items()}
    metrics = {
        "accuracy": float(right.mean()),
        "f1_macro": float(np.mean(list(f1s.values()))),
        "calibration_error": error,
        **(f1s if len(labels) <= 3 else {}),
    }
    return {
        "metrics": metrics,
        "labels": labels,
        "confusion": confusion.tolist(),
        "per_label": per_label,
        "calibration": bins,
    }


def regression(predicted: NDArray[Any], truth: NDArray[Any]) -> dict[str, Any]:
    """Metrics of values ``[N]``: mean absolute and root mean square error, R², quantiles of the residuals."""
    residuals = predicted - truth
    spread = float(((truth - truth.mean()) ** 2).sum())
    metrics = {
        "mae": float(np.abs(residuals).mean()),
        "rmse": float(np.sqrt((residuals**2).mean())),
        "r2": 1.0 - float((residuals**2).sum()) / spread if spread else 0.0,
    }
    quantiles = {str(q): float(np.quantile(residuals, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)}
    return {"metrics": metrics, "residual_quantiles": quantiles}


def write_report(folder: Path, model: str, report: dict[str, Any]) -> None:
    """``report.json`` for programs and ``report.md`` for people."""
    (folder / "report.json").write_text(json.dumps(report, indent=2, default=float))
    lines = [f"# {model}: held-out evaluation", "", "| metric | value |", "|---|---|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in report["metrics"].items()]
    if "confusion" in report:
        labels = report["labels"]
        lines += ["", "## Confusion (rows: true, columns: predicted)", "", "| | " + " | ".join(labels) + " |"]
        lines += ["|---" * (len(labels) + 1) + "|"]
        for label, row in zip(labels, report["confusion"], strict=True):
            lines.append(f"| **{label}** | " + " | ".join(map(str, row)) + " |")
        lines += ["", "## Calibration", "", "| stated confidence | observed accuracy | rows |", "|---|---|---|"]
        lines += [f"| {b['confidence']:.3f} | {b['accuracy']:.3f} | {b['rows']} |" for b in report["calibration"]]
    else:
        lines += ["", "## Residuals", "", "| quantile | residual |", "|---|---|"]
        lines += [f"| {q} | {v:.3f} |" for q, v in report["residual_quantiles"].items()]
    (folder / "report.md").write_text("\n".join(lines) + "\n")
