"""``POST /v1/summarize``."""

from __future__ import annotations

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.outputs import texts
from penstock_gateway.protocols.tasks.route import Count, TaskRequest, TaskRoute, Values

_TEXT = (
    "A penstock is a gate that lets water through to a turbine. It can be closed, so that the turbine can be repaired. "
    "Long ago it was a pen of stakes in a mill's pond. Many dams have several penstocks, one for each turbine."
)


class SummarizeRequest(TaskRequest):
    counts = ("sentences",)

    text: Values = msgspec.UNSET
    sentences: Count | None = None  # of the summary


class Summary(msgspec.Struct):
    text: str


def _present(answer: Answer, _: SummarizeRequest) -> list[Summary]:
    return [Summary(text) for text in texts(answer, "text")]


SUMMARIZE = TaskRoute(
    "/v1/summarize",
    "Summarize texts",
    {"text": Service.SUMMARIZATION},
    SummarizeRequest,
    Summary,
    _present,
    {"text": _TEXT},
)
