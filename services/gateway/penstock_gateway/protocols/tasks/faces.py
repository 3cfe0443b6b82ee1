"""``POST /v1/faces``."""

from __future__ import annotations

import msgspec

from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.tasks.outputs import documents
from penstock_gateway.protocols.tasks.picture import PICTURE, Point
from penstock_gateway.protocols.tasks.route import TaskRequest, TaskRoute, Values


class FacesRequest(TaskRequest):
    image: Values = msgspec.UNSET


class Landmarks(msgspec.Struct):
    left_eye: Point
    right_eye: Point
    nose: Point
    mouth_left: Point
    mouth_right: Point


class Face(msgspec.Struct):
    """A face; its box is ``[x1, y1, x2, y2]``."""

    box: tuple[float, float, float, float]
    score: float
    landmarks: Landmarks


class Faces(msgspec.Struct):
    faces: list[Face]


_DECODER = msgspec.json.Decoder(list[Face])


def _present(answer: Answer, _: FacesRequest) -> list[Faces]:
    return [Faces(faces) for faces in documents(answer, "faces", _DECODER)]


FACES = TaskRoute(
    "/v1/faces",
    "Find the faces in pictures",
    {"image": Service.FACES},
    FacesRequest,
    Faces,
    _present,
    {"image": PICTURE},
)
