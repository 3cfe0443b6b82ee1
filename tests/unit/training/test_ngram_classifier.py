"""The classifiers of byte n-grams: their calibration, and that padding has no effect."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from penstock_training.ngram_classifier import ManyLabels, TwoLabels


def test_calibration_moves_the_log_odds_to_the_observed_ones() -> None:
    """If 3 in 4 rows at +1 and 1 in 4 rows at -1 are spam, the calibrated log-odds there are +-log 3."""
    model = TwoLabels()
    log_odds = np.repeat([1.0, -1.0], 4000)
    model.calibrate(log_odds, np.tile(np.repeat([1, 0], [3000, 1000]), 2) ^ (log_odds < 0))
    assert float(model.scale) == pytest.approx(math.log(3), rel=1e-2)
    assert float(model.shift) == pytest.approx(0.0, abs=1e-2)


def test_calibration_never_becomes_certain() -> None:
    """Perfectly separated rows give a finite scale, because of Platt's smoothed targets."""
    model = TwoLabels()
    model.calibrate(np.repeat([1.0, -1.0], 10), np.repeat([1, 0], 10))
    assert float(torch.sigmoid(model.scale + model.shift)) == pytest.approx(11 / 12, rel=1e-2)


def test_padding_changes_nothing() -> None:
    """A row's answer does not depend on the length of its neighbours."""
    model = TwoLabels()
    torch.nn.init.normal_(model.evidence)
    text = torch.frombuffer(bytearray(b"hello you"), dtype=torch.uint8)[None]
    padded = torch.nn.functional.pad(text, (0, 23))
    assert torch.allclose(model(text), model(padded), atol=1e-6)


def test_padding_changes_nothing_with_many_labels() -> None:
    """A row's answer does not depend on the length of its neighbours, whatever the number of labels."""
    model = ManyLabels(3)
    torch.nn.init.normal_(model.evidence)
    text = torch.frombuffer(bytearray(b"hello you"), dtype=torch.uint8)[None]
    padded = torch.nn.functional.pad(text, (0, 23))
    assert torch.allclose(model(text), model(padded), atol=1e-6)


def test_the_temperature_makes_confidence_what_is_observed() -> None:
    """Log-odds of 4 for a label that is right in 80 of 100 rows are scaled down to a confidence of 0.8."""
    model = ManyLabels(3)
    log_odds = np.tile(np.array([4.0, 0.0, 0.0], dtype=np.float32), (100, 1))
    model.calibrate(log_odds, np.repeat([0, 1, 2], [80, 10, 10]))
    confidence = torch.softmax(torch.tensor(log_odds[0]) * model.scale, dim=0)
    assert float(confidence[0]) == pytest.approx(0.8, abs=1e-3)
