"""``POST /v1/translate``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.outputs import texts
from penstock_gateway.protocols.tasks.route import TaskRequest, TaskRoute, Values

#: A code of ISO 639-1, such as ``de``, or what else the model calls a language.
LanguageCode = Annotated[str, msgspec.Meta(max_length=64)]


class TranslateRequest(TaskRequest):
    text: Values = msgspec.UNSET
    source: LanguageCode | None = None
    target: LanguageCode | None = None


class Translation(msgspec.Struct):
    text: str


def _present(answer: Answer, _: TranslateRequest) -> list[Translation]:
    return [Translation(text) for text in texts(answer, "text")]


TRANSLATE = TaskRoute(
    "/v1/translate",
    "Translate texts",
    {"text": Service.TRANSLATION},
    TranslateRequest,
    Translation,
    _present,
    {"text": "Good morning."},
)
