"""Text and faces in pictures: the services answer as the packages' own pipelines do, from which they have the weights."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from tests.models.packages import package_folder
from tests.models.serving import Serving

_PAGES = 20
_TEXT = (
    "penstock water turbine gate valve river intake power station lake dam pressure flow channel 2026 tunnel head "
    "spillway 118 meters steel weir canal energy grid model request answer pods 3.5 cluster queue"
)


def encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def ask(serving: Serving, model: str, output: str, picture: Image.Image) -> list[dict[str, Any]]:
    image = base64.b64encode(encoded(picture)).decode()
    answer = serving.client.post(f"/v1/models/{model}/predict", json={"image": image})
    assert answer.status_code == 200, answer.text
    return list(json.loads(answer.json()["outputs"][output]))


def page(number: int) -> tuple[Image.Image, list[str]]:
    """Return a page of text, and its lines; pages differ in words, sizes and colours."""
    random = np.random.default_rng(number)
    size = int(random.integers(22, 40))
    lines = [
        " ".join(random.choice(_TEXT.split(), int(random.integers(2, 5)))) for _ in range(int(random.integers(3, 9)))
    ]
    paper, ink = (("white", "black"), ("#f4ecd8", "#30281c"), ("#1c2430", "#e8e8e8"))[number % 3]
    picture = Image.new("RGB", (900, 80 + 2 * size * len(lines)), paper)
    for i, line in enumerate(lines):
        ImageDraw.Draw(picture).text((30, 40 + 2 * size * i), line, ink, ImageFont.load_default(size))
    return picture, lines


@pytest.fixture(scope="module")
def package_ocr() -> Any:
    """rapidocr's own pipeline, with as many threads as the pods."""
    package_folder("rapidocr_onnxruntime")
    package_folder("shapely")
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def test_ocr_reads_what_the_package_reads(serving: Serving, package_ocr: Any) -> None:
    """On generated pages: the same lines, corners and scores. All lines but a few are right, if spaces do not count: the
    recognition leaves some out."""
    serving.add("ocr")
    lines = right = right_but_spaces = 0
    served_seconds = own_seconds = 0.0
    for number in range(_PAGES):
        picture, written = page(number)
        served, seconds = timed(ask, serving, "ocr", "lines", picture)
        served_seconds += seconds
        (own, _), seconds = timed(package_ocr, encoded(picture))
        own_seconds += seconds
        assert [line["text"] for line in served] == [text for _, text, _ in own]
        for line, (corners, _, score) in zip(served, own, strict=True):
            assert line["score"] == pytest.approx(score, abs=1e-3)
            np.testing.assert_allclose(line["box"], corners, atol=1.01)
        texts = [line["text"] for line in served]
        lines += len(written)
        right += sum(text in texts for text in written)
        without_spaces = [text.replace(" ", "") for text in texts]
        right_but_spaces += sum(text.replace(" ", "") in without_spaces for text in written)
    print(f"of {lines} lines, {right} are exact, {right_but_spaces} but for spaces")
    print(f"pages/s: served {_PAGES / served_seconds:.2f}, the package {_PAGES / own_seconds:.2f}")
    assert right >= 0.6 * lines and right_but_spaces >= 0.95 * lines
    [answer] = results(serving, "/v1/ocr", picture)
    assert answer == {"text": "\n".join(texts), "lines": served}


def results(serving: Serving, route: str, picture: Image.Image) -> list[dict[str, Any]]:
    """Ask the route of a service with a picture as the body."""
    answer = serving.client.post(route, content=encoded(picture), headers={"Content-Type": "image/png"})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def timed(function: Callable[..., Any], *given: Any) -> tuple[Any, float]:
    """Return what a function returns, and how many seconds it took."""
    start = time.perf_counter()
    return function(*given), time.perf_counter() - start


def own_nms(boxes: Tensor, scores: Tensor, indices: Tensor, overlap: float) -> Tensor:
    """torchvision.ops.batched_nms for a single picture, as its documentation says it."""
    left_over = scores.argsort(stable=True, descending=True).tolist()
    kept = []
    while left_over:
        first = left_over.pop(0)
        kept.append(first)
        left_over = [i for i in left_over if overlap_of(boxes[first], boxes[i]) <= overlap]
    return torch.tensor(kept, dtype=torch.int64)


def overlap_of(one: Tensor, other: Tensor) -> float:
    """Return the intersection of two boxes over their union."""
    left, top = max(float(one[0]), float(other[0])), max(float(one[1]), float(other[1]))
    right, bottom = min(float(one[2]), float(other[2])), min(float(one[3]), float(other[3]))
    common = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return common / (sum(areas) - common)


@pytest.fixture(scope="module")
def package_faces() -> Iterator[Any]:
    """facenet-pytorch's own MTCNN. Of torchvision, which does not fit this torch, it needs one function for a search."""
    package_folder("facenet_pytorch")
    names = [
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.functional",
        "torchvision.ops",
        "torchvision.ops.boxes",
    ]
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["torchvision.transforms"].functional = modules["torchvision.transforms.functional"]
    modules["torchvision.ops.boxes"].batched_nms = own_nms
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        from facenet_pytorch import MTCNN

        yield MTCNN(keep_all=True, select_largest=False)


def photographs() -> dict[str, Image.Image]:
    """Return photographs with no face, one, and several in different sizes."""
    folder = package_folder("skimage") / "data"
    astronaut = Image.open(folder / "astronaut.png").convert("RGB")
    several = Image.new("RGB", (1100, 560), "gray")
    several.paste(astronaut, (20, 20))
    several.paste(astronaut.resize((300, 300)).transpose(Image.Transpose.FLIP_LEFT_RIGHT), (560, 40))
    several.paste(astronaut.rotate(10).resize((200, 200)), (880, 300))
    return {"none": Image.open(folder / "brick.png").convert("RGB"), "one": astronaut, "several": several}


def test_faces_are_those_that_the_package_finds(serving: Serving, package_faces: Any) -> None:
    """The same boxes, scores and landmarks."""
    serving.add("faces")
    found = {}
    for name, picture in photographs().items():
        served, served_seconds = timed(ask, serving, "faces", "faces", picture)
        found[name] = len(served)
        assert results(serving, "/v1/faces", picture) == [{"faces": served}]
        (boxes, scores, points), own_seconds = timed(lambda p: package_faces.detect(p, landmarks=True), picture)
        print(f"{name}: served in {served_seconds:.3f} s, by the package in {own_seconds:.3f} s")
        if boxes is None:
            assert served == []
            continue
        assert len(served) == len(boxes)
        order = np.argsort(-scores.astype(float), kind="stable")
        for face, i in zip(served, order, strict=True):
            inside = np.clip(boxes[i].astype(float), 0, [*picture.size, *picture.size])
            np.testing.assert_allclose(face["box"], inside, atol=0.02)
            assert face["score"] == pytest.approx(scores[i], abs=1e-4)
            np.testing.assert_allclose(list(face["landmarks"].values()), points[i].astype(float), atol=0.02)
    assert found["one"] >= 1 and found["several"] >= 3
