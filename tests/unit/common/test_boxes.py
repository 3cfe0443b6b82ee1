"""What detectors give into labelled boxes in the picture that was sent."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Postprocess, Preprocess, Task
from penstock_common.manifest_values import check_manifest_values
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.postprocessing.suppression import suppress
from penstock_common.preprocessing.steps import preprocess

LABELS = ["cat", "dog"]
#: Corners of a cat, of the same cat again, and of a dog in its arms.
CORNERS = np.float32([[10, 20, 30, 60], [11, 20, 31, 60], [10, 22, 30, 60]])
SCORES = np.float32([[0.9, 0.1], [0.8, 0.1], [0.2, 0.7]])
FOUND = [
    {"label": "cat", "score": 0.9, "box": [10, 20, 30, 60]},
    {"label": "dog", "score": 0.7, "box": [10, 22, 30, 60]},
]


def detector(params: dict[str, Any], image: dict[str, Any] | None = None, labels: list[str] = LABELS) -> Manifest:
    """A detector that takes pictures, or their pixels."""
    pixels = Field("picture", FieldKind.TENSOR, "FP32", shape=[3, 64, 64])
    manifest = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.TENSOR,
        [pixels if image is None else Field("picture", FieldKind.IMAGE, "BYTES")],
        [Output("objects", "BYTES")],
        labels=labels,
        preprocess=None if image is None else Preprocess("image", image),
        postprocess=Postprocess("boxes", params),
    )
    check_manifest_values(manifest)
    return manifest


def found(params: dict[str, Any], *tensors: NDArray[Any], labels: list[str] = LABELS) -> Any:
    """What is in one picture, given the outputs of the file for it."""
    steps = Postprocessing(detector(params, labels=labels))
    [[text]] = steps.run([tensor[np.newaxis] for tensor in tensors], {})
    return json.loads(text)


def rounded(objects: Any) -> Any:
    return [entry | {"score": round(entry["score"], 3)} for entry in objects]


def centers(corners: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)


def logits(scores: NDArray[Any]) -> NDArray[Any]:
    return np.log(scores / (1 - scores))


SURE = np.float32([[0.9], [0.8], [0.7]])
BEST = np.float32([[0], [0], [1]])
BACKGROUND = np.float32([[0.3], [0.2], [0.1]])
DETECTORS: dict[str, tuple[dict[str, Any], list[NDArray[Any]]]] = {
    "YOLOv8": ({"format": "cxcywh", "transposed": True}, [np.concatenate([centers(CORNERS), SCORES], axis=1).T]),
    "YOLOv5": (
        {"format": "cxcywh", "row": "objectness"},
        [np.concatenate([centers(CORNERS), np.full((3, 1), 0.5), 2 * np.minimum(SCORES, 0.5)], axis=1)],
    ),
    "YOLOv10": ({"row": "class"}, [np.concatenate([CORNERS, SURE, BEST], axis=1)]),
    "SSD": (
        {"scores": "scores", "background": "first"},
        [CORNERS, np.concatenate([BACKGROUND, SCORES], axis=1)],
    ),
    "DETR": (
        {"format": "cxcywh", "scores": "logits", "background": "last", "activation": "softmax"},
        [centers(CORNERS), np.log(np.concatenate([SCORES, 1 - SCORES.sum(axis=1, keepdims=True) + 1e-9], axis=1))],
    ),
    "RT-DETR": (
        {"format": "cxcywh", "scores": "logits", "activation": "sigmoid"},
        [centers(CORNERS), logits(SCORES)],
    ),
    "TensorFlow's object detection": (
        {"format": "yxyx", "scores": "scores", "classes": "classes", "background": "first"},
        [CORNERS[:, [1, 0, 3, 2]], SURE[:, 0], BEST[:, 0] + 1],
    ),
    "torchvision": (
        {"scores": "scores", "classes": "labels", "background": "first"},
        [CORNERS, SURE[:, 0], BEST[:, 0].astype(np.int64) + 1],
    ),
}


@pytest.mark.parametrize("name", [name for name in DETECTORS if name != "YOLOv5"])
def test_outputs_of_the_usual_detectors_are_read(name: str) -> None:
    """Whatever they call a box, a score and a class; the second cat is the first one again."""
    params, tensors = DETECTORS[name]
    assert rounded(found(params, *tensors)) == FOUND


def test_a_score_is_times_the_objectness() -> None:
    """As YOLOv5 has it: how likely an object is there, and what it is if so."""
    params, [rows] = DETECTORS["YOLOv5"]
    assert [entry["score"] for entry in found(params | {"threshold": 0.1}, rows)] == [0.5, 0.5]
    assert found(params | {"threshold": 0.51}, rows) == []


def naive(boxes: NDArray[Any], classes: NDArray[Any], overlap: float) -> list[int]:
    """Non-maximum suppression one pair at a time."""
    kept: list[int] = []
    for i, (left, top, right, bottom) in enumerate(boxes.tolist()):
        for j in kept:
            other = boxes[j].tolist()
            width = max(0.0, min(right, other[2]) - max(left, other[0]))
            height = max(0.0, min(bottom, other[3]) - max(top, other[1]))
            union = (right - left) * (bottom - top) + (other[2] - other[0]) * (other[3] - other[1]) - width * height
            if classes[i] == classes[j] and width * height > overlap * union:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7, 1.0])
def test_suppression_is_that_of_the_textbook(overlap: float) -> None:
    """The same boxes stay as if every pair was compared."""
    random = np.random.default_rng(7)
    start = random.uniform(0, 60, (300, 2))
    boxes = np.concatenate([start, start + random.uniform(5, 40, (300, 2))], axis=1)
    classes = random.integers(0, 3, 300)
    wanted = naive(boxes, classes, overlap)
    assert suppress(boxes, classes, overlap, 300) == wanted
    assert suppress(boxes, classes, overlap, 5) == wanted[:5]


def test_the_number_of_candidates_and_of_boxes_is_bounded() -> None:
    """The best are taken; boxes that no number is known of are none."""
    start = np.arange(0, 4000, 20, dtype=np.float32)[:, np.newaxis]
    rows = np.concatenate([start, start, start + 10, start + 10, np.linspace(0.3, 0.9, 200)[:, None]], axis=1)
    rows[-1, 0] = np.nan
    one = ["face"]
    assert len(found({"most": 50}, rows, labels=one)) == 50
    assert len(found({"candidates": 7}, rows, labels=one)) == 7
    assert found({"most": 1}, rows, labels=one)[0]["box"] == [3960, 3960, 3970, 3970]


RECTANGLE = (70, 20, 130, 80)  # in a picture of 200 x 100


def picture() -> bytes:
    image = Image.new("RGB", (200, 100))
    image.paste((255, 0, 0), RECTANGLE)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "image",
    [
        {"size": [64, 64]},
        {"size": [64, 64], "letterbox": "center"},
        {"size": [97, 64], "letterbox": "corner"},
        {"size": [64, 96], "letterbox": "center"},
        {"size": [60, 64], "crop": 64},
        {"size": [400, 400], "letterbox": "center"},
    ],
)
@pytest.mark.parametrize("normalized", [False, True])
def test_a_box_is_in_pixels_of_the_picture_that_was_sent(image: dict[str, Any], normalized: bool) -> None:
    """What the image step did is undone: a detector that sees a red rectangle in its input gives where it was."""
    manifest = detector({"normalized": normalized}, image, labels=["red"])
    inputs = {"picture": np.array([picture()], dtype=object)}
    (pixels,) = preprocess(manifest, inputs)
    down, across = np.nonzero((pixels[0, 0] > 0.5) & (pixels[0, 1] < 0.3))
    row = np.float32([[across.min(), down.min(), across.max() + 1, down.max() + 1, 0.9]])
    if normalized:
        row[:, :4] /= [*image["size"][::-1]] * 2
    [[text]] = Postprocessing(manifest).run([row[np.newaxis]], inputs)
    [entry] = json.loads(text)
    pixel = 200 / min(image["size"])  # of the model's input, in pixels of the picture
    assert entry["box"] == pytest.approx(RECTANGLE, abs=pixel)


def test_a_box_ends_where_the_picture_does() -> None:
    """What lies in the grey of a letterbox is cut off, and gone if nothing is left."""
    manifest = detector({}, {"size": [64, 64], "letterbox": "center"}, labels=["red"])
    rows = np.float32([[[-5, 10, 70, 40, 0.9], [0, 0, 20, 14, 0.8]]])
    [[text]] = Postprocessing(manifest).run([rows], {"picture": np.array([picture()], dtype=object)})
    assert [entry["box"] for entry in json.loads(text)] == [[0, 0, 200, 75]]


@pytest.mark.parametrize(
    ("params", "tensors", "told"),
    [
        ({}, [np.zeros((6, 8400))], "scores of 8396 classes; the manifest names 2 labels"),
        ({}, [np.zeros((5, 4))], "boxes have at least 5 values each"),
        ({"scores": "s"}, [np.zeros((5, 4)), np.zeros((4, 2))], "as many scores and classes as there are boxes"),
        ({"scores": "s"}, [np.zeros((5, 4)), np.zeros((5, 3))], "scores of 3 classes"),
        ({"row": "class"}, [np.float32([[0, 0, 1, 1, 0.9, 2]])], "a box of class 2; the manifest names 2 labels"),
        ({}, [np.zeros((1, 5, 6))], r"float64 \[1, 5, 6\] for a picture, which is not a table"),
    ],
)
def test_outputs_that_are_no_boxes_are_the_models_fault(
    params: dict[str, Any], tensors: list[NDArray[Any]], told: str
) -> None:
    """500 ``bad-model-answer`` says what there is and what was declared, so that the version does not load."""
    with pytest.raises(PenstockError, match=told) as refused:
        found(params, *tensors)
    assert refused.value.code == "bad-model-answer"


@pytest.mark.parametrize(
    ("params", "labels", "told"),
    [
        ({}, [], "labels: postprocess boxes needs the names of the classes"),
        ({"normalized": True}, LABELS, "only preprocess image knows the size of the model's input"),
        ({"classes": "c"}, LABELS, "name the output that has these by `scores`"),
        ({"scores": "s", "row": "class"}, LABELS, "two places of the scores"),
        ({"row": "objectness", "activation": "softmax"}, LABELS, "activation softmax needs a score for each class"),
        ({"format": "corners"}, LABELS, "Invalid enum value 'corners'"),
    ],
)
def test_parameters_that_contradict_are_refused(params: dict[str, Any], labels: list[str], told: str) -> None:
    """At registration, with the remedy."""
    with pytest.raises(PenstockError, match=told) as refused:
        detector(params, labels=labels)
    assert refused.value.code == "bad-manifest"
