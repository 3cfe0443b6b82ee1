"""Translation: numbers in words from one language into another, by a Marian that begins with random weights."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_common.service import Service
from penstock_training.evaluate import write_report
from penstock_training.fit import Progress, fit
from penstock_training.manifest_file import write_manifest
from penstock_training.number_words import MOST, english, german
from penstock_training.pipeline import HELD_OUT, Trained, digest

NUMBERS = 12_000
EPOCHS = 6
#: All numbers below this are among them.
_SMALL = 1000
_BATCH = 32
_ROWS_AT_ONCE = 250
_IGNORED = -100


class Language(StrEnum):
    en = "en"
    de = "de"


_WORDS: dict[Language, Callable[[int], str]] = {Language.en: english, Language.de: german}
_NAMES = {Language.en: "English", Language.de: "German"}


def train(
    name: str, source: Language, target: Language, folder: Path, format_: Format | None, seed: int, progress: Progress
) -> Trained:
    """Train a translator, and compare what it writes with the words of numbers that it has not seen.

    Raises:
        PenstockError: 422 ``bad-language`` if the languages are the same; 503 ``cannot-train`` if a package is missing.
    """
    if source is target:
        raise PenstockError(422, "bad-language", f"--source and --target are both {source}; choose two languages.")
    for package in ("sentencepiece", "transformers"):
        if find_spec(package) is None:
            text = f"The package {package} is not installed; pip install 'penstock-training[translation]'."
            raise PenstockError(503, "cannot-train", text)
    from penstock_training import marian

    rng = np.random.default_rng(seed)
    numbers = np.concatenate(
        [np.arange(_SMALL), _SMALL + rng.choice(MOST + 1 - _SMALL, NUMBERS - _SMALL, replace=False)]
    )
    texts = [_WORDS[source](int(number)) for number in numbers]
    answers = [_WORDS[target](int(number)) for number in numbers]
    order = rng.permutation(NUMBERS)
    test_rows, train_rows = np.split(order, [round(HELD_OUT * NUMBERS)])
    tokenizer = marian.marian_tokenizer([texts[i] for i in train_rows], [answers[i] for i in train_rows])
    tokens = tokenizer(texts)["input_ids"]
    wanted = tokenizer(text_target=answers)["input_ids"]

    def batch(rows: NDArray[Any]) -> tuple[tuple[Tensor, ...], Tensor]:
        labels = marian.padded([wanted[i] for i in rows], _IGNORED)
        return (marian.padded([tokens[i] for i in rows]), labels), labels

    torch.manual_seed(seed)
    model = marian.marian_model(len(tokenizer))
    padding = model.config.pad_token_id
    fit(
        model,
        lambda ids, labels: model(input_ids=ids, attention_mask=(ids != padding).long(), labels=labels).logits,
        batch,
        train_rows,
        lambda logits, labels: nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()),
        epochs=EPOCHS,
        learning_rate=1e-3,
        batch_size=_BATCH,
        seed=seed,
        progress=progress,
    )
    written = [
        text
        for at in range(0, len(test_rows), _ROWS_AT_ONCE)
        for text in marian.translated(model, tokenizer, [tokens[i] for i in test_rows[at : at + _ROWS_AT_ONCE]])
    ]
    report = {
        "metrics": {
            "exact_match": float(np.mean([text == answers[i] for text, i in zip(written, test_rows, strict=True)]))
        },
        "baseline": {
            "answer": "the text itself",
            "metrics": {"exact_match": float(np.mean([texts[i] == answers[i] for i in test_rows]))},
        },
        "left_out": {},
    }
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_manifest(folder, _manifest(source, target))
    write_report(folder, name, report)
    pairs = "\n".join(f"{text}\t{answer}" for text, answer in zip(texts, answers, strict=True))
    parameters = {"source": source, "target": target, "epochs": EPOCHS, "seed": seed}
    return Trained(report, "exact_match", True, digest(pairs.encode()), NUMBERS, parameters, "numbers")


def _manifest(source: Language, target: Language) -> Manifest:
    return Manifest(
        Format.TRANSFORMERS,
        "model",
        Task.TENSOR,
        [Field("text", FieldKind.TEXT, "BYTES", max_length=200, description=f"A number in words of {_NAMES[source]}.")],
        [Output("text", "BYTES", description=f"The number in words of {_NAMES[target]}.")],
        parameters=Parameters(truncate=True),
        batching=Batching(32),
        description=f"Translates numbers up to {MOST:,} in words from {_NAMES[source]} into {_NAMES[target]}, and nothing else.",
        examples=[{"text": _WORDS[source](number)} for number in (7, 42, 123_456)],
        service=Service.TRANSLATION,
    )
