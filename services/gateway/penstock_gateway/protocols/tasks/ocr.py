"""``POST /v1/ocr``."""

from __future__ import annotations

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.outputs import documents
from penstock_gateway.protocols.tasks.picture import PICTURE, Point
from penstock_gateway.protocols.tasks.route import TaskRequest, TaskRoute, Values


class OcrRequest(TaskRequest):
    image: Values = msgspec.UNSET


class Line(msgspec.Struct):
    """A line of text and the corners around it, from the upper left one clockwise."""

    text: str
    score: float
    box: tuple[Point, Point, Point, Point]


class Page(msgspec.Struct):
    """What is written in a picture: all of it, and its lines in reading order."""

    text: str
    lines: list[Line]


_DECODER = msgspec.json.Decoder(list[Line])


def _present(answer: Answer, _: OcrRequest) -> list[Page]:
    return [Page("\n".join(line.text for line in lines), lines) for lines in documents(answer, "lines", _DECODER)]


OCR = TaskRoute(
    "/v1/ocr", "Read the text in pictures", {"image": Service.OCR}, OcrRequest, Page, _present, {"image": PICTURE}
)
