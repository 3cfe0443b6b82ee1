"""The metrics of a held-out evaluation, compared with hand-computed values, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from penstock_training.evaluate import classification, regression, write_report

LABELS = ["ham", "spam"]
#: Of four rows, one ham is classified as spam.
PROBABILITIES = np.array([[0.9, 0.1], [0.45, 0.55], [0.2, 0.8], [0.1, 0.9]], dtype=np.float32)
TRUTH = np.array([0, 0, 1, 1])
#: Most rows to train on were spam.
SEEN = np.array([0, 1, 1])


def test_accuracy_and_f1_are_of_the_most_probable_label() -> None:
    """Three of four are right; ham has precision 1 and recall 1/2, spam has precision 2/3 and recall 1."""
    report = classification(PROBABILITIES, TRUTH, LABELS, SEEN)
    metrics = report["metrics"]
    assert metrics["accuracy"] == 0.75
    assert (metrics["f1_ham"], metrics["f1_spam"]) == (pytest.approx(2 / 3), pytest.approx(0.8))
    assert metrics["f1_macro"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert report["per_label"]["ham"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "rows": 2}


def test_the_confusion_has_a_row_for_each_true_label() -> None:
    """Rows are true and columns are predicted labels, including a label that no row has."""
    three = np.pad(PROBABILITIES, ((0, 0), (0, 1)))
    report = classification(three, TRUTH, [*LABELS, "other"], SEEN)
    assert report["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert report["per_label"]["other"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0}


def test_more_than_three_labels_have_no_metric_each() -> None:
    """A version has few metrics; the scores of each label are in the report."""
    report = classification(np.eye(4), np.arange(4), list("abcd"), SEEN)
    assert sorted(report["metrics"]) == ["accuracy", "calibration_error", "f1_macro"]
    assert sorted(report["per_label"]) == list("abcd")


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    """Bins without rows are left out; each gap is weighted by its share of the rows."""
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.95, 0.05]] * 4)
    truth = np.array([0, 0, 1, 1, 0, 0, 0, 0])
    report = classification(probabilities, truth, LABELS, SEEN)
    assert report["calibration"] == [
        {"confidence": pytest.approx(0.75), "accuracy": 0.5, "rows": 4},
        {"confidence": pytest.approx(0.95), "accuracy": 1.0, "rows": 4},
    ]
    assert report["metrics"]["calibration_error"] == pytest.approx((4 * 0.25 + 4 * 0.05) / 8)


def test_full_confidence_has_a_bin() -> None:
    """Rows with probability 1 are in the last bin."""
    report = classification(np.eye(2), np.arange(2), LABELS, SEEN)
    assert report["calibration"] == [{"confidence": 1.0, "accuracy": 1.0, "rows": 2}]


def test_the_errors_of_a_regression_are_in_the_units_of_the_target() -> None:
    """Residuals of +1, -1, +3 and -3 have a known mean absolute error, root mean square error, R2 and quantiles."""
    truth = np.array([10.0, 20.0, 30.0, 40.0])
    report = regression(truth + np.array([1.0, -1.0, 3.0, -3.0]), truth, truth)
    assert report["metrics"] == {"mae": 2.0, "rmse": pytest.approx(5**0.5), "r2": pytest.approx(1 - 20 / 500)}
    quantiles = report["residual_quantiles"]
    assert list(quantiles) == ["0.05", "0.25", "0.5", "0.75", "0.95"]
    assert (quantiles["0.25"], quantiles["0.5"], quantiles["0.75"]) == (-1.5, 0.0, 1.5)


def test_the_baseline_of_a_classification_is_the_most_frequent_label() -> None:
    """It is that of the rows to train on: always spam is right for two of four rows, and its macro F1 is 1/3."""
    report = classification(PROBABILITIES, TRUTH, LABELS, SEEN)
    assert report["baseline"] == {"answer": "spam", "metrics": {"accuracy": 0.5, "f1_macro": pytest.approx(1 / 3)}}


def test_the_baseline_of_a_regression_is_the_mean() -> None:
    """It is that of the rows to train on, and its R2 is below 0 if the held-out rows have another mean."""
    report = regression(np.array([1.0, 3.0]), np.array([1.0, 3.0]), np.array([4.0, 6.0]))
    assert report["baseline"]["answer"] == 5.0
    assert report["baseline"]["metrics"] == {
        "mae": 3.0,
        "rmse": pytest.approx(10**0.5),
        "r2": pytest.approx(1 - 20 / 2),
    }


@pytest.mark.parametrize(
    ("report", "row"),
    [
        (classification(PROBABILITIES, TRUTH, LABELS, SEEN), "| **ham** | 1 | 1 |"),
        (classification(PROBABILITIES, TRUTH, LABELS, SEEN), "| accuracy | 0.7500 | 0.5000 |"),
        (regression(np.array([1.0, 3.0]), np.array([1.0, 2.0]), np.array([4.0])), "| 0.5 | 0.500 |"),
    ],
)
def test_the_report_is_written_for_programs_and_for_people(tmp_path: Path, report: dict[str, object], row: str) -> None:
    """report.json has all figures; report.md shows the confusion or the residuals as a table."""
    write_report(tmp_path, "m", report)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert row in (tmp_path / "report.md").read_text().splitlines()
