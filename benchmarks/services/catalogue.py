"""The services that are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.services import calls, quality, samples
from benchmarks.services.calls import Ask
from benchmarks.services.samples import Sample


@dataclass(frozen=True)
class Service:
    """A service that ``penstock add`` knows.

    Attributes:
        unit: what is counted, in the plural.
        loads: how many clients ask at once; the batches of the model alone have as many samples.
        samples: makes what is asked.
        quality: judges the answers; its last argument is those of the model alone.
        needs_own: the quality can only be said beside the answers of the model alone.
    """

    unit: str
    loads: tuple[int, ...]
    samples: Callable[[], list[Sample]]
    ask: Ask
    quality: Callable[[list[Sample], list[Any], list[Any]], str]
    needs_own: bool = False


SERVICES = {
    "chat": Service("tokens", (1, 8), samples.questions, calls.chat, quality.same_texts, needs_own=True),
    "embeddings": Service("texts", (32,), samples.texts, calls.embeddings, quality.least_cosine, needs_own=True),
    "transcription": Service("words", (1,), samples.sounds, calls.transcription, quality.word_error_rate),
    "ocr": Service("images", (1,), samples.pages, calls.ocr, quality.exact_lines),
    "faces": Service("images", (1,), samples.people, calls.faces, quality.same_faces, needs_own=True),
    "entities": Service("texts", (16,), samples.news, calls.entities, quality.entity_f1),
    "image-classification": Service("images", (8,), samples.pictures, calls.image_classification, quality.top_1),
}
