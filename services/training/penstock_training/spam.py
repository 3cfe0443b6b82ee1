"""Spam: a classifier of hashed byte n-grams, from UTF-8 bytes to probabilities in one graph."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.preprocessing.steps import preprocess
from penstock_common.service import Service
from penstock_training.artifact import FILES, save
from penstock_training.evaluate import classification, write_report
from penstock_training.fit import Progress, fit
from penstock_training.pipeline import HELD_OUT, Trained, digest

LABELS = ["ham", "spam"]
ORDERS = (2, 3, 4)
BUCKETS = 1 << 16  # a power of two
EPOCHS = 15
SPAM_WEIGHT_EXPONENT = 0.5
MAX_BYTES = 512
_MIN_MESSAGES = 10  # of each label
EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "messages.tsv"


class NgramClassifier(nn.Module):
    """``uint8 [N, L]`` (zero padded UTF-8) to probabilities ``float32 [N, 2]`` of ham and spam.

    Each n-gram of lower-cased bytes is hashed to a bucket that holds its evidence for spam
    (hashing trick, Weinberger et al. 2009). The log-odds of a row are the sum of its evidence
    divided by the square root of its number of n-grams, which makes long and short texts comparable.
    """

    lower: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        table = torch.arange(256)
        table[65:91] += 32
        self.register_buffer("lower", table)
        self.evidence = nn.Parameter(torch.zeros(BUCKETS))
        self.bias = nn.Parameter(torch.zeros(1))
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("shift", torch.zeros(1))

    def log_odds(self, text: Tensor) -> Tensor:
        """Return the log-odds ``float32 [N]`` before calibration."""
        codes = self.lower[text.long()]
        hashed = codes
        grams, last = [], []
        for order in range(2, max(ORDERS) + 1):
            hashed = hashed[:, :-1] * 131 + codes[:, order - 1 :]
            if order in ORDERS:
                grams.append(hashed)
                last.append(codes[:, order - 1 :])
        buckets = (torch.cat(grams, dim=1) * 40503 >> 7) & (BUCKETS - 1)
        real = (torch.cat(last, dim=1) > 0).to(torch.float32)
        total = (self.evidence[buckets] * real).sum(dim=1)
        return total / real.sum(dim=1).clamp(min=1.0).sqrt() + self.bias

    def forward(self, text: Tensor) -> Tensor:
        spam = torch.sigmoid(self.log_odds(text) * self.scale + self.shift)
        return torch.stack([1.0 - spam, spam], dim=1)


def read_messages(data: bytes) -> tuple[list[str], list[int]]:
    """Read texts and labels (1 for spam) of a CSV or TSV with two columns in any order, with or without a header.

    Raises:
        PenstockError: 422 ``bad-data`` naming the line and the remedy.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise PenstockError(422, "bad-data", f"The data is not UTF-8 (byte {err.start}); save it as UTF-8.") from None
    tabs = "\t" in text.partition("\n")[0]
    # The SMS Spam Collection is a TSV in which a quotation mark is an ordinary character.
    reader = (
        csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(io.StringIO(text))
    )
    texts: list[str] = []
    labels: list[int] = []
    for number, row in enumerate(reader, 1):
        if not any(row):
            continue
        if len(row) != 2:
            raise PenstockError(
                422,
                "bad-data",
                f"Line {reader.line_num} has {len(row)} columns; it must have two, a label and a message.",
            )
        first, second = row[0].strip().lower(), row[1].strip().lower()
        if first in LABELS:
            label, message = first, row[1]
        elif second in LABELS:
            label, message = second, row[0]
        elif number == 1:
            continue  # a header
        else:
            raise PenstockError(
                422, "bad-data", f"Line {reader.line_num} has neither 'ham' nor 'spam' as a column: {row!r:.80}"
            )
        texts.append(message)
        labels.append(LABELS.index(label))
    return texts, labels


def drop_near_copies(texts: list[str], labels: list[int]) -> tuple[list[str], list[int]]:
    """Keep one of several messages that differ only in digits, case, punctuation or spaces.

    Otherwise the test rows would have copies of messages that the model was trained on.
    """
    seen: set[str] = set()
    kept: list[int] = []
    for i, text in enumerate(texts):
        key = re.sub(r"[\W\d_]+", " ", text.lower()).strip() or text
        if key not in seen:
            seen.add(key)
            kept.append(i)
    return [texts[i] for i in kept], [labels[i] for i in kept]


def train(data: Path | None, folder: Path, format_: Format | None, seed: int, progress: Progress) -> Trained:
    """The spam ``Pipeline``.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    raw = (data or EXAMPLES).read_bytes()
    texts, labels = drop_near_copies(*read_messages(raw))
    if min(labels.count(0), labels.count(1)) < _MIN_MESSAGES:
        raise PenstockError(
            422, "bad-data", f"The data needs at least {_MIN_MESSAGES} different messages of each label."
        )
    manifest = _manifest(format_ or Format.TORCH_EXPORT)
    truth = np.array(labels)
    rest, test_rows = train_test_split(np.arange(len(texts)), test_size=HELD_OUT, stratify=truth, random_state=seed)
    train_rows, calibration_rows = train_test_split(rest, test_size=0.1, stratify=truth[rest], random_state=seed)
    targets = torch.tensor(labels, dtype=torch.float32)
    # The rarer label has a larger weight, so that both kinds of error matter.
    weight = torch.tensor(float((labels.count(0) / labels.count(1)) ** SPAM_WEIGHT_EXPONENT))

    def encode(rows: NDArray[Any]) -> Tensor:
        column = np.empty(len(rows), dtype=np.object_)
        column[:] = [texts[i].encode() for i in rows]
        return torch.from_numpy(preprocess(manifest, {"text": column})[0])

    torch.manual_seed(seed)
    model = NgramClassifier()
    epochs = EPOCHS if len(texts) > 1000 else 40
    fit(
        model,
        model.log_odds,
        lambda rows: ((encode(rows),), targets[rows]),
        train_rows,
        lambda odds, truth: nn.functional.binary_cross_entropy_with_logits(odds, truth, pos_weight=weight),
        epochs=epochs,
        learning_rate=0.2,
        batch_size=32,
        seed=seed,
        progress=progress,
        weight_decay=3e-2,
    )
    with torch.no_grad():
        log_odds = model.log_odds(encode(calibration_rows)).numpy()
    _calibrate(model, log_odds, truth[calibration_rows])
    with torch.no_grad():
        probabilities = model(encode(test_rows)).numpy()
    report = classification(probabilities, truth[test_rows], LABELS)
    example = encode(train_rows[:4])
    dynamic = ({0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim.AUTO},)
    save(folder, model, manifest, (example,), dynamic)
    write_report(folder, "spam", report)
    parameters = {"orders": list(ORDERS), "buckets": BUCKETS, "epochs": epochs, "seed": seed}
    return Trained(report, "f1_spam", True, digest(raw), len(texts), parameters)


def _calibrate(model: NgramClassifier, log_odds: NDArray[Any], truth: NDArray[Any]) -> None:
    """Calibrate by Platt scaling (smoothed targets, Platt 1999) on rows that the model was not trained on."""
    spam = truth.sum()
    probability = np.where(truth == 1, (spam + 1) / (spam + 2), 1 / (len(truth) - spam + 2))
    # A target between 0 and 1 becomes two weighted rows, one of each label.
    platt = LogisticRegression(C=np.inf).fit(
        np.tile(log_odds, 2)[:, np.newaxis],
        np.repeat([1, 0], len(truth)),
        sample_weight=np.concatenate([probability, 1 - probability]),
    )
    model.scale.fill_(platt.coef_.item())
    model.shift.fill_(platt.intercept_.item())


def _manifest(format_: Format) -> Manifest:
    return Manifest(
        format=format_,
        file=FILES[format_],
        task=Task.CLASSIFICATION,
        inputs=[Field("text", FieldKind.TEXT, "BYTES", max_length=5000, description="The message, as it was written.")],
        outputs=[Output("probabilities", "FP32", [2], "Probabilities of ham and spam.")],
        labels=LABELS,
        preprocess=Preprocess("utf8-bytes", {"max_bytes": MAX_BYTES, "multiple": 16}),
        batching=Batching(max_batch_size=128),
        service=Service.TEXT_CLASSIFICATION,
        description="Tells spam from ordinary messages (English, SMS length).",
        examples=[{"text": "WINNER!! Claim your free prize now"}, {"text": "See you at lunch tomorrow?"}],
    )
