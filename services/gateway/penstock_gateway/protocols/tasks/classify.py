"""``POST /v1/classify``."""

from __future__ import annotations

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.labels import scored_labels
from penstock_gateway.protocols.tasks.picture import PICTURE
from penstock_gateway.protocols.tasks.route import Count, TaskRequest, TaskRoute, Values


class ClassifyRequest(TaskRequest):
    counts = ("top_k",)

    text: Values = msgspec.UNSET
    image: Values = msgspec.UNSET
    top_k: Count | None = None


class LabelScore(msgspec.Struct):
    label: str
    score: float


class Classification(msgspec.Struct):
    """The likeliest label, and the likeliest few, the best first."""

    label: str
    score: float
    scores: list[LabelScore]


def _present(answer: Answer, request: ClassifyRequest) -> list[Classification]:
    return [
        Classification(*best[0], [LabelScore(*each) for each in best]) for best in scored_labels(answer, request.top_k)
    ]


CLASSIFY = TaskRoute(
    "/v1/classify",
    "Classify texts or pictures",
    {"text": Service.TEXT_CLASSIFICATION, "image": Service.IMAGE_CLASSIFICATION},
    ClassifyRequest,
    Classification,
    _present,
    {"text": "What a wonderful day!", "image": PICTURE},
)
