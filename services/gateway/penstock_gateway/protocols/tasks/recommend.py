"""``POST /v1/recommend``."""

from __future__ import annotations

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.outputs import documents
from penstock_gateway.protocols.tasks.route import Count, TaskRequest, TaskRoute, Values


class RecommendRequest(TaskRequest):
    counts = ("count",)

    items: Values = msgspec.UNSET  # what one person likes
    count: Count | None = None  # of the recommendations


class RecommendedItem(msgspec.Struct):
    item: str
    score: float


class Recommendation(msgspec.Struct):
    """The best first."""

    items: list[RecommendedItem]


_DECODER = msgspec.json.Decoder(list[RecommendedItem])


def _present(answer: Answer, _: RecommendRequest) -> list[Recommendation]:
    return [Recommendation(items) for items in documents(answer, "items", _DECODER)]


RECOMMEND = TaskRoute(
    "/v1/recommend",
    "Recommend further items to one who likes these",
    {"items": Service.RECOMMENDATION},
    RecommendRequest,
    Recommendation,
    _present,
    {"items": ["first", "second"]},
    lists=False,
)
