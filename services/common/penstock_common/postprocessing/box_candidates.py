"""Reads what a detector gives: the boxes, and the best class of each with its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.manifest import SourceName
from penstock_common.postprocessing.step import described
from penstock_common.tensors import kind_of

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class BoxesParams(msgspec.Struct, forbid_unknown_fields=True):
    """The output of the file has a row for each box: four coordinates in ``format``, and what ``row`` says.

    ``transposed``: it has a column for each box. ``normalized``: coordinates are shares of the model's input, not its
    pixels.

    ``row``: a score for each class (``scores``); how likely there is an object, and a score for each class if there is
    (``objectness``); the best score and its class (``class``). Instead, ``scores`` names an output of the file with a
    score for each box and class, or, if ``classes`` names one with the class of each box, with a score for each box.

    ``background``: whether the first or the last class is none of the labels. ``activation``: what makes scores of
    logits.

    ``threshold``: worse boxes are left out. ``overlap``: of two boxes of a class whose intersection over union is above
    it, the better one stays. ``candidates``: the best so many are compared; ``most``: so many stay.
    """

    format: Literal["xyxy", "xywh", "cxcywh", "yxyx"] = "xyxy"
    normalized: bool = False
    transposed: bool = False
    row: Literal["scores", "objectness", "class"] = "scores"
    scores: SourceName = ""
    classes: SourceName = ""
    background: Literal["none", "first", "last"] = "none"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    threshold: _Share = 0.25
    overlap: _Share = 0.45
    candidates: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000
    most: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100

    def __post_init__(self) -> None:
        if self.classes and not self.scores:
            raise ValueError("classes are those of the scores; name the output that has these by `scores`")
        if self.scores and self.row != "scores":
            raise ValueError(f"row {self.row!r} and `scores` are two places of the scores; leave out one")
        if self.activation == "softmax" and (self.classes or self.row != "scores"):
            raise ValueError("activation softmax needs a score for each class in one place; use sigmoid or none")


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of one picture.

    Attributes:
        corners: ``float32 [N, 4]``: left, top, right and bottom, as the model has them.
        scores: ``[N]``
        classes: ``int64 [N]``, positions among the labels.
    """

    corners: NDArray[Any]
    scores: NDArray[Any]
    classes: NDArray[Any]

    def best(self, threshold: float, most: int) -> Candidates:
        """Return those with at least that score and finite coordinates, ``most`` at most, the best first."""
        sure = np.flatnonzero((self.scores >= threshold) & np.isfinite(self.corners).all(axis=1))
        sure = sure[(-self.scores[sure]).argsort(kind="stable")[:most]]
        return Candidates(self.corners[sure], self.scores[sure], self.classes[sure])


def read_candidates(tensors: Sequence[NDArray[Any]], params: BoxesParams, labels: int) -> Candidates:
    """Read the outputs of the file for one picture.

    Args:
        tensors: the boxes, and then what ``scores`` and ``classes`` name.
        labels: their number.

    Raises:
        PenstockError: 500 ``bad-model-answer`` if they are not what the parameters say.
    """
    tables = [_table(tensor, params) for tensor in tensors]
    columns = 4 if params.scores else 5 if params.row == "scores" else 6
    boxes = tables[0]
    if boxes.shape[1] < columns or any(len(table) != len(boxes) for table in tables):
        raise bad_model_answer(
            f"{' and '.join(described(tensor) for tensor in tensors)} for a picture; boxes have at least {columns} values "
            "each, and as many scores and classes as there are boxes (see the parameter transposed)"
        )
    corners = _corners(boxes[:, :4], params.format)
    if params.classes:
        return _with_classes(corners, tables[1][:, 0], tables[2][:, 0], params, labels)
    if params.row == "class":
        return _with_classes(corners, boxes[:, 4], boxes[:, 5], params, labels)
    if params.scores:
        return _with_scores(corners, tables[1], params, labels)
    if params.row == "scores":
        return _with_scores(corners, boxes[:, 4:], params, labels)
    found = _with_scores(corners, boxes[:, 5:], params, labels)
    return Candidates(corners, found.scores * _activated(boxes[:, 4], params.activation), found.classes)


def _table(tensor: NDArray[Any], params: BoxesParams) -> NDArray[Any]:
    """Return ``float32 [N, values]``."""
    if tensor.ndim == 1:
        tensor = tensor[:, np.newaxis]
    elif params.transposed:
        tensor = tensor.T
    if kind_of(tensor.dtype) not in "fiu" or tensor.ndim != 2:
        raise bad_model_answer(f"{described(tensor)} for a picture, which is not a table of numbers of boxes")
    return tensor.astype(np.float32, copy=False)


def _with_scores(corners: NDArray[Any], logits: NDArray[Any], params: BoxesParams, labels: int) -> Candidates:
    """Return the boxes with the best class of each but the background."""
    background = params.background != "none"
    if logits.shape[1] != labels + background:
        raise bad_model_answer(
            f"scores of {logits.shape[1]} classes; the manifest names {labels} labels{' and a background' * background}"
        )
    first = 1 if params.background == "first" else 0
    scores = _activated(logits, params.activation)[:, first : first + labels]
    return Candidates(corners, scores.max(axis=1), scores.argmax(axis=1))


def _with_classes(
    corners: NDArray[Any], logits: NDArray[Any], classes: NDArray[Any], params: BoxesParams, labels: int
) -> Candidates:
    """Return the boxes but those of the background."""
    positions = np.nan_to_num(classes, nan=-1).astype(np.int64)
    background = {"none": None, "first": 0, "last": labels}[params.background]
    kept = positions != background if background is not None else np.ones(len(positions), np.bool_)
    positions -= params.background == "first"
    return Candidates(corners[kept], _activated(logits, params.activation)[kept], positions[kept])


def _activated(logits: NDArray[Any], activation: str) -> NDArray[Any]:
    if activation == "sigmoid":
        return np.asarray((1 + np.tanh(logits / 2)) / 2)
    if activation == "softmax":
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    return logits


def _corners(boxes: NDArray[Any], format_: str) -> NDArray[Any]:
    a, b, c, d = boxes.T
    match format_:
        case "xywh":
            corners = (a, b, a + c, b + d)
        case "cxcywh":
            corners = (a - c / 2, b - d / 2, a + c / 2, b + d / 2)
        case "yxyx":
            corners = (b, a, d, c)
        case _:
            corners = (a, b, c, d)
    return np.stack(corners, axis=1)
