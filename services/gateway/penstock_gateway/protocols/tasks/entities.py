"""``POST /v1/entities``."""

from __future__ import annotations

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.outputs import documents
from penstock_gateway.protocols.tasks.route import TaskRequest, TaskRoute, Values


class EntitiesRequest(TaskRequest):
    text: Values = msgspec.UNSET


class Entity(msgspec.Struct):
    """A name in a text; ``start`` and ``end`` count its characters (code points)."""

    text: str
    label: str
    start: int
    end: int
    score: float | msgspec.UnsetType = msgspec.UNSET


class Entities(msgspec.Struct):
    entities: list[Entity]


_DECODER = msgspec.json.Decoder(list[Entity])


def _present(answer: Answer, _: EntitiesRequest) -> list[Entities]:
    return [Entities(entities) for entities in documents(answer, "entities", _DECODER)]


ENTITIES = TaskRoute(
    "/v1/entities",
    "Find the names in texts",
    {"text": Service.ENTITIES},
    EntitiesRequest,
    Entities,
    _present,
    {"text": "Ada Lovelace met Charles Babbage in London in June 1833."},
)
