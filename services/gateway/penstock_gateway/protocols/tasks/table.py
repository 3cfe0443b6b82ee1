"""All routes of tasks."""

from __future__ import annotations

from typing import Any

from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.protocols.tasks.classify import CLASSIFY
from penstock_gateway.protocols.tasks.entities import ENTITIES
from penstock_gateway.protocols.tasks.faces import FACES
from penstock_gateway.protocols.tasks.handler import TaskHandler
from penstock_gateway.protocols.tasks.language import LANGUAGE
from penstock_gateway.protocols.tasks.ocr import OCR
from penstock_gateway.protocols.tasks.recommend import RECOMMEND
from penstock_gateway.protocols.tasks.route import TaskRoute
from penstock_gateway.protocols.tasks.summarize import SUMMARIZE
from penstock_gateway.protocols.tasks.translate import TRANSLATE

TASK_ROUTES: tuple[TaskRoute[Any], ...] = (
    TRANSLATE,
    SUMMARIZE,
    ENTITIES,
    LANGUAGE,
    OCR,
    FACES,
    CLASSIFY,
    RECOMMEND,
)


def task_handlers(dataplane: DataPlane, max_answer_bytes: int, large_json: LargeJson | None) -> list[TaskHandler[Any]]:
    """A handler for each route."""
    return [TaskHandler(route, dataplane, max_answer_bytes, large_json) for route in TASK_ROUTES]
