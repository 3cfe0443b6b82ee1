"""Summaries of a text's own sentences, by a model that gives vectors of sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencex  # type: ignore[import-untyped]
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.runner import FileAnswer, FileTensor, tell_nobody
from penstock_inference.runners.texts import text_column
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.transformers_heads.texts import embeddings

_TASK = "summarize"
#: Of a summary, if a row does not say.
_SENTENCES = 3
#: Of a text.
_MOST_SENTENCES = 2000
_SENTENCES_AT_ONCE = 32
#: How much it counts that a sentence is near the whole text; the rest is that it is far from those chosen before.
_RELEVANCE = 0.7


def wanted(manifest: Manifest) -> bool:
    """Return whether a manifest says that a folder without a head summarizes."""
    return manifest.parameters is not None and manifest.parameters.task == _TASK


def extractive_summarizer(path: Path, manifest: Manifest, device: TorchDevice) -> ExtractiveSummarizer:
    """Load a model whose output ``text`` is the most central sentences of the input ``text``, in their order.

    The input ``sentences`` says how many. The parameter ``language`` (English if absent) is that of the sentences' ends.

    Raises:
        ModelMismatchError: the manifest sets other parameters.
    """
    return ExtractiveSummarizer(path, manifest, device)


class ExtractiveSummarizer:
    """See ``extractive_summarizer``. A text may have thousands of sentences, so each batch of them counts as progress."""

    def __init__(self, path: Path, manifest: Manifest, device: TorchDevice) -> None:
        self._language = parameters_of(manifest, "task", "language").language or "en"
        self._embeddings = embeddings(path, device, counts_tokens=False)
        self.tell_progress: Callable[[], None] = tell_nobody
        self.inputs = [FileTensor("text", "BYTES", (-1,)), FileTensor("sentences", "INT32", (-1,), required=False)]

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        texts, counts = inputs
        assert texts is not None
        given = [_SENTENCES] * len(texts) if counts is None else counts.tolist()
        return {"text": text_column(self._summary(*row) for row in zip(texts.tolist(), given, strict=True))}

    def changed_state(self) -> list[str]:
        return []  # the library's models keep nothing between calls

    def _summary(self, text: bytes, count: int) -> str:
        if count < 1:
            raise _invalid(f"sentences: {count} is less than 1")
        sentences = sentences_of(text.decode(), self._language)
        if len(sentences) > _MOST_SENTENCES:
            raise _invalid(
                f"text: it has {len(sentences)} sentences, and {_MOST_SENTENCES} are read at most; send it in parts"
            )
        if len(sentences) > count:
            sentences = [sentences[i] for i in most_central(self._vectors(sentences), count)]
        return " ".join(sentences)

    def _vectors(self, sentences: list[str]) -> NDArray[np.float32]:
        """Return a vector of length 1 for each sentence, ``[sentences, width]``.

        Those of one text are never in a batch with another's, so that a summary does not depend on the rows beside it.
        """
        by_length = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        parts = []
        for at in range(0, len(by_length), _SENTENCES_AT_ONCE):
            batch = text_column(sentences[i] for i in by_length[at : at + _SENTENCES_AT_ONCE])
            parts.append(self._embeddings([batch])["embedding"])
            self.tell_progress()
        vectors = np.empty((len(sentences), parts[0].shape[1]), np.float32)
        vectors[by_length] = np.concatenate(parts)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors


def sentences_of(text: str, language: str) -> list[str]:
    """Return the sentences of a text that have a letter or a digit, each on one line."""
    lines = [" ".join(sentence.split()) for sentence in sentencex.segment(language, text)]
    return [line for line in lines if any(letter.isalnum() for letter in line)]


def most_central(vectors: NDArray[np.float32], count: int) -> list[int]:
    """Return the positions of some vectors that are near the mean of all and far from each other, in their order.

    They are chosen one after the other by maximal marginal relevance (Carbonell and Goldstein, 1998).

    Args:
        vectors: of length 1, ``[vectors, width]``.
    """
    mean = vectors.mean(axis=0)
    relevance = vectors @ (mean / max(float(np.linalg.norm(mean)), 1e-9))
    nearest = np.zeros(len(vectors), np.float32)  # the similarity to the most similar one that is chosen
    chosen: list[int] = []
    for _ in range(count):
        worth = _RELEVANCE * relevance - (1 - _RELEVANCE) * nearest
        worth[chosen] = -np.inf
        best = int(worth.argmax())
        chosen.append(best)
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return sorted(chosen)


def _invalid(detail: str) -> PenstockError:
    return PenstockError(422, "invalid-input", f"{detail}.")
