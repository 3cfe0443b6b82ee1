"""``boxes``: what a detector gives into a list of labels, scores and boxes in the picture that was sent."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.manifest import Manifest, Output
from penstock_common.postprocessing.box_candidates import BoxesParams, read_candidates
from penstock_common.postprocessing.step import Batch, Step
from penstock_common.postprocessing.suppression import suppress
from penstock_common.preprocessing.image import ImageParams, Placement, placements
from penstock_common.step_params import read_params


def _boxes(batch: Batch, params: BoxesParams) -> list[NDArray[Any]]:
    """Return a JSON list of ``{label, score, box}`` for each row, the best score first.

    ``box`` is left, top, right and bottom in pixels of the picture; without the image step, of the model's input.
    """
    rows = len(batch.tensors[0])
    image = _image_params(batch.manifest)
    placed: list[Placement | None] = [None] * rows
    if image is not None:
        placed = [*placements(batch.inputs[batch.manifest.client_inputs[0].name], image)]
    size = image.size if image is not None and params.normalized else (1, 1)
    texts = np.empty(rows, dtype=np.object_)
    texts[:] = [
        msgspec.json.encode(
            _found([tensor[row] for tensor in batch.tensors], batch.manifest.labels, params, place, size)
        )
        for row, place in enumerate(placed)
    ]
    return [texts]


def _found(
    tensors: list[NDArray[Any]],
    labels: list[str],
    params: BoxesParams,
    placed: Placement | None,
    size: tuple[int, int],
) -> list[dict[str, Any]]:
    """Return what is in one picture; a coordinate of the model is ``size``, height and width, times pixels."""
    candidates = read_candidates(tensors, params, len(labels)).best(params.threshold, params.candidates)
    unknown = candidates.classes[(candidates.classes < 0) | (candidates.classes >= len(labels))]
    if unknown.size:
        raise bad_model_answer(f"a box of class {unknown[0]}; the manifest names {len(labels)} labels")
    kept = suppress(candidates.corners, candidates.classes, params.overlap, params.most)
    corners = candidates.corners[kept] * np.array([size[1], size[0]] * 2, np.float32)
    if placed is not None:
        corners = _in_picture(corners, placed)
    return [
        {"label": labels[class_], "score": round(score, 6), "box": [round(side, 2) for side in box]}
        for class_, score, box in zip(
            candidates.classes[kept].tolist(), candidates.scores[kept].tolist(), corners.tolist(), strict=True
        )
        if box[2] > box[0] and box[3] > box[1]
    ]


def _in_picture(corners: NDArray[Any], placed: Placement) -> NDArray[Any]:
    """Undo what the image step did to a picture, and cut off what lies outside of it."""
    scale = np.array([placed.across / placed.width, placed.down / placed.height] * 2)
    sides = np.array([placed.width, placed.height] * 2)
    return np.asarray(np.clip((corners - np.array([placed.left, placed.top] * 2)) / scale, 0, sides))


def _image_params(manifest: Manifest) -> ImageParams | None:
    chosen = manifest.preprocess
    if chosen is None or chosen.name != "image":
        return None
    return read_params("preprocess", chosen.name, chosen.params, ImageParams)


def _check(manifest: Manifest, output: Output, params: BoxesParams) -> None:
    if output.datatype != "BYTES" or output.shape:
        raise ValueError(
            f"outputs.{output.name}: postprocess boxes gives a JSON text, BYTES []; got {output.datatype} {output.shape}"
        )
    if not manifest.labels:
        raise ValueError("labels: postprocess boxes needs the names of the classes, in their order")
    if params.normalized and _image_params(manifest) is None:
        raise ValueError("postprocess.params.normalized: only preprocess image knows the size of the model's input")


BOXES = Step(
    BoxesParams, _check, _boxes, reads=lambda params: [name for name in (params.scores, params.classes) if name]
)
