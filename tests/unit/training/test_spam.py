"""The spam preset: the data that it reads, and how well its model separates spam from ham."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_training.spam import read_messages, train

HAM, SPAM = "ham\tsee you at {}\n", "spam\twin {} now\n"
BOTH = "".join(HAM.format(n) + SPAM.format(n) for n in range(10))


def test_either_column_may_be_the_label_and_a_header_is_skipped() -> None:
    """The data may be TSV or CSV, with the label first or second."""
    tsv = read_messages(BOTH.encode())
    csv = read_messages(("text,label\n" + "".join(f'"see, you {n}",ham\nwin {n},spam\n' for n in range(10))).encode())
    assert tsv.truth == csv.truth == [0, 1] * 10
    assert csv.texts[0] == "see, you 0"


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


def test_too_few_different_messages_are_refused(tmp_path: Path) -> None:
    """Ten of each label are needed, and near-copies do not count."""
    data = tmp_path / "messages.tsv"
    data.write_text(BOTH)
    with pytest.raises(PenstockError, match="10 different texts of each label: 'ham' has 1, 'spam' has 1"):
        train(data, tmp_path / "artifact", None, 0, lambda *_: None)


def test_the_saved_model_separates_spam_from_ham(tmp_path: Path) -> None:
    """Trained on the example messages and loaded again, it separates spam from ham, alone or in a batch."""
    trained = train(None, tmp_path, None, 0, lambda *_: None)
    assert trained.report["metrics"]["accuracy"] > 0.9 > trained.report["baseline"]["metrics"]["accuracy"]
    assert trained.primary == "f1_spam"
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
