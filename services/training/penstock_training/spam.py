"""Spam: the preset of ``text`` for messages that are ham or spam."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import Field, FieldKind, Format
from penstock_training.fit import Progress
from penstock_training.labelled_texts import Texts, clean
from penstock_training.pipeline import Trained, digest
from penstock_training.table_file import bad_data, cells_of
from penstock_training.text import text_manifest, train_texts

LABELS = ["ham", "spam"]
MAX_BYTES = 512
EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "messages.tsv"


def read_messages(data: bytes) -> Texts:
    """Read the messages of a CSV or TSV with two columns in any order, with or without a header.

    Raises:
        PenstockError: 422 ``bad-data`` naming the line and the remedy.
    """
    texts: list[str] = []
    truth: list[int] = []
    for number, (line, row) in enumerate(cells_of(data, "The data", separators=",")):
        if len(row) != 2:
            raise bad_data(f"Line {line} has {len(row)} columns; it must have two, a label and a message.")
        first, second = row[0].strip().lower(), row[1].strip().lower()
        if first in LABELS:
            label, message = first, row[1]
        elif second in LABELS:
            label, message = second, row[0]
        elif number == 0:
            continue  # a header
        else:
            raise bad_data(f"Line {line} has neither 'ham' nor 'spam' as a column: {row!r:.80}")
        texts.append(message)
        truth.append(LABELS.index(label))
    return Texts(texts, truth, LABELS, digest(data), {})


def train(data: Path | None, folder: Path, format_: Format | None, seed: int, progress: Progress) -> Trained:
    """The spam ``Pipeline``.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    messages = clean(read_messages((data or EXAMPLES).read_bytes()))
    manifest = text_manifest(
        format_ or Format.TORCH_EXPORT,
        LABELS,
        Field("text", FieldKind.TEXT, "BYTES", max_length=5000, description="The message, as it was written."),
        MAX_BYTES,
        "Tells spam from ordinary messages (English, SMS length).",
        ["WINNER!! Claim your free prize now", "See you at lunch tomorrow?"],
    )
    return train_texts("spam", messages, manifest, folder, seed, progress, primary="f1_spam")
