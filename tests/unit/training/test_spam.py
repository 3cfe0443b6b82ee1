"""The spam pipeline: the data that it reads, its calibration, and how well its model separates spam from ham."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_training.spam import NgramClassifier, _calibrate, drop_near_copies, read_messages, train

HAM, SPAM = "ham\tsee you at {}\n", "spam\twin {} now\n"
BOTH = "".join(HAM.format(n) + SPAM.format(n) for n in range(10))


def test_either_column_may_be_the_label_and_a_header_is_skipped() -> None:
    """The data may be TSV or CSV, with the label first or second."""
    tsv = read_messages(BOTH.encode())
    csv = read_messages(("text,label\n" + "".join(f'"see, you {n}",ham\nwin {n},spam\n' for n in range(10))).encode())
    assert tsv[1] == csv[1] == [0, 1] * 10
    assert csv[0][0] == "see, you 0"


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (BOTH.encode() + b"ham\tone\ttwo\n", "Line 21 has 3 columns"),
        (BOTH.encode() + b"eggs\tfor breakfast\n", "Line 21"),
        (b"\xff\xfe", "UTF-8"),
    ],
)
def test_data_that_cannot_be_read_is_explained(data: bytes, named: str) -> None:
    """The error names the line and the remedy."""
    with pytest.raises(PenstockError, match=named):
        read_messages(data)


def test_near_copies_are_dropped() -> None:
    """Messages that differ only in digits, case or punctuation count once."""
    texts, labels = drop_near_copies(["Win £100 now!", "WIN 200 now", "See you"], [1, 1, 0])
    assert (texts, labels) == (["Win £100 now!", "See you"], [1, 0])


def test_too_few_different_messages_are_refused(tmp_path: Path) -> None:
    """Ten of each label are needed, and near-copies do not count."""
    data = tmp_path / "messages.tsv"
    data.write_text(BOTH)
    with pytest.raises(PenstockError, match="10 different messages of each label"):
        train(data, tmp_path / "artifact", None, 0, lambda *_: None)


def test_calibration_moves_the_log_odds_to_the_observed_ones() -> None:
    """If 3 in 4 rows at +1 and 1 in 4 rows at -1 are spam, the calibrated log-odds there are +-log 3."""
    model = NgramClassifier()
    log_odds = np.repeat([1.0, -1.0], 4000)
    _calibrate(model, log_odds, np.tile(np.repeat([1, 0], [3000, 1000]), 2) ^ (log_odds < 0))
    assert float(model.scale) == pytest.approx(math.log(3), rel=1e-2)
    assert float(model.shift) == pytest.approx(0.0, abs=1e-2)


def test_calibration_never_becomes_certain() -> None:
    """Perfectly separated rows give a finite scale, because of Platt's smoothed targets."""
    model = NgramClassifier()
    _calibrate(model, np.repeat([1.0, -1.0], 10), np.repeat([1, 0], 10))
    assert float(torch.sigmoid(model.scale + model.shift)) == pytest.approx(11 / 12, rel=1e-2)


def test_padding_changes_nothing() -> None:
    """A row's answer does not depend on the length of its neighbours."""
    model = NgramClassifier()
    torch.nn.init.normal_(model.evidence)
    text = torch.frombuffer(bytearray(b"hello you"), dtype=torch.uint8)[None]
    padded = torch.nn.functional.pad(text, (0, 23))
    assert torch.allclose(model(text), model(padded), atol=1e-6)


def test_the_saved_model_separates_spam_from_ham(tmp_path: Path) -> None:
    """Trained on the example messages and loaded again, it separates spam from ham, alone or in a batch."""
    trained = train(None, tmp_path, None, 0, lambda *_: None)
    assert trained.report["metrics"]["accuracy"] > 0.9
    manifest = parse_manifest((tmp_path / MANIFEST_FILE).read_bytes())
    model = torch.export.load(tmp_path / manifest.file).module()

    def spam(text: str, rows: int) -> float:
        data = text.encode().ljust(64, b"\0")
        batch = torch.frombuffer(bytearray(data * rows), dtype=torch.uint8).reshape(rows, 64)
        with torch.no_grad():
            return float(model(batch)[rows - 1, 1])

    for rows in (1, 2, 64):
        assert spam("WINNER!! Claim your free prize now", rows) > 0.9
        assert spam("See you at lunch tomorrow?", rows) < 0.5
    assert "Confusion" in (tmp_path / "report.md").read_text()
