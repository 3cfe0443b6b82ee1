"""Whether a text is positive or negative, by the vectors of all-MiniLM-L6-v2 and sentences that people rated."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.preprocessing.steps import preprocess
from penstock_common.service import Service
from penstock_training.artifact import FILES, save
from penstock_training.evaluate import write_report
from penstock_training.labelled_texts import Texts, clean
from penstock_training.recipes import mini_lm, rated_sentences
from penstock_training.recipes.recipe import Call, Recipe
from penstock_training.recipes.sentence_classifier import train

_SENTENCE = "What a wonderful day!"
_MAX_TOKENS = 256
_SEED = 0
_MANIFEST = Manifest(
    Format.TORCH_EXPORT,
    FILES[Format.TORCH_EXPORT],
    Task.CLASSIFICATION,
    [
        Field(
            "text", FieldKind.TEXT, "BYTES", max_length=10_000, description=f"The first {_MAX_TOKENS} tokens are read."
        )
    ],
    [Output("probabilities", "FP32", [len(rated_sentences.LABELS)])],
    labels=rated_sentences.LABELS,
    preprocess=Preprocess("tokenizer", {"max_tokens": _MAX_TOKENS}),
    batching=Batching(16),
    description="Whether an English text is positive, negative or neutral; best at single sentences.",
    examples=[{"text": _SENTENCE}, {"text": "The screen broke after a week."}],
    service=Service.TEXT_CLASSIFICATION,
)


def _make(packages: list[Path], artifact: Path) -> None:
    weights, ratings = packages
    train_on(clean(rated_sentences.read_sentences(ratings)), weights / "model", artifact)


def train_on(sentences: Texts, weights: Path, artifact: Path) -> None:
    """Write an artifact, with a report on the fifth of the sentences that it was not trained on.

    Args:
        weights: the folder of the sentences' vectors.
    """
    shutil.copy(weights / "tokenizer.json", artifact)

    def tokenize(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        column = np.array([text.encode() for text in texts], np.object_)
        ids, mask, _ = preprocess(_MANIFEST, {"text": column}, artifact)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    classifier, report = train(weights, tokenize, sentences, _SEED)
    write_report(artifact, "sentiment", report)
    rows, tokens = torch.export.Dim("rows", min=1, max=4096), torch.export.Dim("tokens", min=1, max=_MAX_TOKENS)
    save(artifact, classifier, _MANIFEST, tokenize(sentences.texts[:2]), ({0: rows, 1: tokens},) * 2)


RECIPE = Recipe(
    name="sentiment",
    what="whether a text is positive, negative or neutral (all-MiniLM-L6-v2 and VADER's rated sentences, English)",
    packages=(mini_lm.PACKAGE, rated_sentences.PACKAGE),
    megabytes=mini_lm.MEGABYTES + rated_sentences.MEGABYTES,
    licence=f"{mini_lm.LICENCE}; ratings: {rated_sentences.LICENCE}",
    call=Call("/v1/classify", {"model": "{model}", "text": _SENTENCE}),
    make=_make,
    quality="right for 71 % of 4,690 held-out sentences; VADER's rules: 60 %",
)
