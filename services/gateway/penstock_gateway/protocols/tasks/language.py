"""``POST /v1/language``."""

from __future__ import annotations

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.labels import scored_labels
from penstock_gateway.protocols.tasks.route import Count, TaskRequest, TaskRoute, Values


class LanguageRequest(TaskRequest):
    counts = ("top_k",)

    text: Values = msgspec.UNSET
    top_k: Count | None = None


class LanguageScore(msgspec.Struct):
    language: str
    score: float


class Language(msgspec.Struct):
    """The likeliest language, a code of ISO 639-1, and the likeliest few, the best first."""

    language: str
    score: float
    scores: list[LanguageScore]


def _present(answer: Answer, request: LanguageRequest) -> list[Language]:
    return [
        Language(*best[0], [LanguageScore(*each) for each in best]) for best in scored_labels(answer, request.top_k)
    ]


LANGUAGE = TaskRoute(
    "/v1/language",
    "Tell the language of texts",
    {"text": Service.LANGUAGE},
    LanguageRequest,
    Language,
    _present,
    {"text": "Wo ist der Bahnhof?"},
)
