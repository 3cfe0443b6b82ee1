"""Text and faces in pictures: the services answer as the packages' own pipelines do, from which they have the weights."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.models.package_pipelines import face_pipeline, ocr_pipeline
from tests.models.pictures import encoded, page, photographs
from tests.models.serving import Serving

_PAGES = 20


def ask(serving: Serving, model: str, output: str, picture: Image.Image) -> list[dict[str, Any]]:
    image = base64.b64encode(encoded(picture)).decode()
    answer = serving.client.post(f"/v1/models/{model}/predict", json={"image": image})
    assert answer.status_code == 200, answer.text
    return list(json.loads(answer.json()["outputs"][output]))


@pytest.fixture(scope="module")
def package_ocr() -> Any:
    """rapidocr's own pipeline."""
    return ocr_pipeline()


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


@pytest.fixture(scope="module")
def package_faces() -> Iterator[Any]:
    """facenet-pytorch's own MTCNN."""
    with face_pipeline() as pipeline:
        yield pipeline


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
