"""What each route of a task answers, and that a model's wrong answer is the model's fault."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from penstock_common.manifest import Field, FieldKind, Output
from penstock_common.service import Service
from penstock_common.tensors import pack_bytes
from penstock_gateway.protocols.tasks.handler import TaskHandler
from penstock_gateway.protocols.tasks.picture import PICTURE
from penstock_gateway.protocols.tasks.translate import TRANSLATE
from tests.unit.gateway.protocols.one_servable import OneServable, call
from tests.unit.gateway.protocols.tasks.serving_a_service import IMAGE, TEXT, answer, refusal, serving

CORNERS = [[1, 2], [30, 2], [30, 12.5], [1, 12.5]]
LINES = [{"text": "Dear", "score": 0.9, "box": CORNERS}, {"text": "Ada", "score": 0.8, "box": CORNERS}]
POINTS = {"left_eye": [1, 2], "right_eye": [3, 4], "nose": [5, 6], "mouth_left": [7, 8], "mouth_right": [9, 10]}
FACES = [{"box": [1, 2, 30.5, 40], "score": 0.99, "landmarks": POINTS}]
NAMES = [
    {"text": "Ada", "label": "PERSON", "start": 0, "end": 3},
    {"text": "Rom", "label": "PLACE", "start": 4, "end": 7, "score": 0.5},
]
ITEMS = Field("items", FieldKind.TENSOR, "BYTES", shape=[-1])
COUNT = Field("count", FieldKind.INTEGER, "INT32", required=False, default=10)
RECOMMENDED = [{"item": "tea", "score": 1.5}, {"item": "milk", "score": -0.5}]
#: The service that each route asks, its model's inputs and output, and a request.
SERVICES: dict[str, tuple[Service, list[Field], str, dict[str, Any]]] = {
    "/v1/translate": (Service.TRANSLATION, [TEXT], "text", {"text": "a"}),
    "/v1/summarize": (Service.SUMMARIZATION, [TEXT], "text", {"text": "a"}),
    "/v1/entities": (Service.ENTITIES, [TEXT], "entities", {"text": "a"}),
    "/v1/ocr": (Service.OCR, [IMAGE], "lines", {"image": PICTURE}),
    "/v1/faces": (Service.FACES, [IMAGE], "faces", {"image": PICTURE}),
    "/v1/recommend": (Service.RECOMMENDATION, [ITEMS, COUNT], "items", {"items": ["bread"]}),
}


def of(path: str, *answers: Any) -> OneServable:
    """A model for a route; answers that are not bytes are JSON."""
    service, fields, output, _ = SERVICES[path]
    raw = [each if isinstance(each, bytes) else orjson.dumps(each) for each in answers]
    return serving(service, *fields, output=Output(output, "BYTES"), answers=raw)


def classifier(service: Service, field: Field, labels: list[str], *rows: list[float], **members: Any) -> OneServable:
    raw = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    return serving(service, field, output=Output("p", "FP32", [len(labels)]), answers=raw, labels=labels, **members)


@pytest.mark.parametrize(
    ("path", "given", "result"),
    [
        ("/v1/translate", "Grüße".encode(), {"text": "Grüße"}),
        ("/v1/summarize", b"Short.", {"text": "Short."}),
        ("/v1/entities", NAMES, {"entities": NAMES}),
        ("/v1/entities", [], {"entities": []}),
        ("/v1/ocr", LINES, {"text": "Dear\nAda", "lines": LINES}),
        ("/v1/ocr", [], {"text": "", "lines": []}),
        ("/v1/faces", FACES, {"faces": FACES}),
        ("/v1/recommend", RECOMMENDED, {"items": RECOMMENDED}),
    ],
)
async def test_the_result_of_a_row(path: str, given: Any, result: dict[str, Any]) -> None:
    """What the model gave, by its service's names; members that the contract does not have are left out."""
    more = [{**each, "debug": 1} for each in given] if isinstance(given, list) else given
    found = await answer(path, of(path, more), SERVICES[path][3])
    assert found == {"model": "m", "version": "3", "results": [result]}


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1/translate", b"\xff"),
        ("/v1/entities", b"not JSON"),
        ("/v1/entities", b"\xff"),
        ("/v1/entities", {"entities": []}),
        ("/v1/entities", [NAMES[0] | {"start": "0"}]),
        ("/v1/ocr", [LINES[0] | {"box": CORNERS[:3]}]),
        ("/v1/ocr", [{"text": "a", "score": 1}]),
        ("/v1/faces", [FACES[0] | {"landmarks": {}}]),
        ("/v1/faces", b'[{"box": [1, 2, 3, 1e999]}]'),
        ("/v1/recommend", ["tea"]),
        ("/v1/recommend", b"[" * 100_000),
    ],
)
async def test_a_wrong_answer_is_the_models_fault(path: str, given: Any) -> None:
    """500, and not a guess at what was meant."""
    error = await refusal(path, of(path, given), SERVICES[path][3])
    assert (error.status, error.code) == (500, "bad-model-answer")
    assert len(error.detail) < 500


async def test_an_answer_for_too_few_rows_is_the_models_fault() -> None:
    """Results are never those of another row."""
    error = await refusal("/v1/translate", of("/v1/translate", b"one"), {"text": ["a", "b"]})
    assert (error.status, error.code) == (500, "bad-model-answer")


async def test_an_answer_is_bounded() -> None:
    """Before it is read."""
    servable = of("/v1/translate", b"a" * 1000)
    with pytest.raises(Exception, match="1,004 bytes, 100 are allowed"):
        await TaskHandler(TRANSLATE, servable.dataplane, 100, None)(call(b'{"text": "a"}'))


async def test_labels_come_with_their_scores() -> None:
    """The best first, equals in the order of the labels."""
    servable = classifier(Service.TEXT_CLASSIFICATION, TEXT, ["a", "b", "c"], [0.25, 0.5, 0.25], [0.1, 0.2, 0.7])
    first, second = (await answer("/v1/classify", servable, {"text": ["x", "y"]}))["results"]
    scores = [{"label": "b", "score": 0.5}, {"label": "a", "score": 0.25}, {"label": "c", "score": 0.25}]
    assert first == {"label": "b", "score": 0.5, "scores": scores}
    assert (second["label"], second["score"]) == ("c", 0.7)


@pytest.mark.parametrize(
    ("labels", "members", "top_k", "answered"),
    [
        (3, {}, None, 3),
        (30, {}, None, 5),
        (30, {}, 7, 7),
        (3, {"top_k": 2}, None, 2),
        (3, {"top_k": 2}, 100, 3),
        (3, {}, 1.0, 1),
    ],
)
async def test_as_many_labels_as_are_asked_for(
    labels: int, members: dict[str, Any], top_k: float | None, answered: int
) -> None:
    """Else as many as the manifest says, or all of up to 20, or 5."""
    names = [f"label {i}" for i in range(labels)]
    row = [1 / labels] * labels
    servable = classifier(Service.IMAGE_CLASSIFICATION, IMAGE, names, row, **members)
    body = {"image": PICTURE} | ({} if top_k is None else {"top_k": top_k})
    [result] = (await answer("/v1/classify", servable, body))["results"]
    assert len(result["scores"]) == answered
    assert servable.services == [Service.IMAGE_CLASSIFICATION]


@pytest.mark.parametrize("top_k", [0, -1, 101, 1.5, "3", True])
async def test_a_bad_top_k_is_refused(top_k: Any) -> None:
    """It is a whole number from 1 to 100."""
    servable = classifier(Service.TEXT_CLASSIFICATION, TEXT, ["a", "b"], [0.5, 0.5])
    error = await refusal("/v1/classify", servable, {"text": "x", "top_k": top_k})
    assert (error.status, error.code, error.extra["field"]) == (422, "invalid-input", "top_k")


async def test_a_text_or_a_picture_is_classified() -> None:
    """Each by a model of its own; a request has one of them."""
    servable = classifier(Service.TEXT_CLASSIFICATION, TEXT, ["a", "b"], [0.5, 0.5])
    both = await refusal("/v1/classify", servable, {"text": "x", "image": PICTURE})
    assert (both.status, both.extra["field"]) == (422, "text")
    assert "is given beside 'image'" in both.detail
    neither = await refusal("/v1/classify", servable, {"top_k": 1})
    assert "is missing; send text or image" in neither.detail
    wrong = await refusal("/v1/classify", servable, {"image": PICTURE, "model": "m"})
    assert "'m' is not for image-classification: its manifest says service: text-classification" in wrong.detail


async def test_the_language_of_a_text() -> None:
    """By its code, with the likeliest few."""
    servable = classifier(Service.LANGUAGE, TEXT, ["de", "en"], [0.875, 0.125])
    found = await answer("/v1/language", servable, {"text": "Wo?", "top_k": 1})
    assert found["results"] == [{"language": "de", "score": 0.875, "scores": [{"language": "de", "score": 0.875}]}]


async def test_a_probability_that_is_not_a_number_is_the_models_fault() -> None:
    """JSON has none."""
    servable = classifier(Service.LANGUAGE, TEXT, ["de", "en"], [float("nan"), 0.5])
    error = await refusal("/v1/language", servable, {"text": "Wo?"})
    assert (error.status, error.code) == (500, "bad-model-answer")


async def test_what_a_person_likes_is_one_row() -> None:
    """A list of items, and how many to recommend."""
    servable = of("/v1/recommend", RECOMMENDED)
    await answer("/v1/recommend", servable, {"items": ["bread", "jam"], "count": 2})
    [rows] = servable.inferred
    assert rows.inputs == [pack_bytes([b"bread", b"jam"]), struct.pack("<i", 2)]
    assert rows.shapes is not None and rows.shapes[0] == (2,)


@pytest.mark.parametrize("items", ["bread", [], [["bread"]], [1], None])
async def test_items_are_a_list_of_texts(items: Any) -> None:
    """The error names them."""
    error = await refusal("/v1/recommend", of("/v1/recommend", RECOMMENDED), {"items": items})
    assert (error.status, error.code, error.extra["field"]) == (422, "invalid-input", "items")


async def test_a_summary_has_as_many_sentences_as_are_asked_for() -> None:
    """If the model takes their number; else it is refused."""
    sentences = Field("sentences", FieldKind.INTEGER, "INT32", required=False, default=3)
    output = Output("text", "BYTES")
    servable = serving(Service.SUMMARIZATION, TEXT, sentences, output=output, answers=[b"Short."])
    await answer("/v1/summarize", servable, {"text": "a", "sentences": 1})
    assert servable.inferred[0].inputs[1] == struct.pack("<i", 1)
    error = await refusal("/v1/summarize", of("/v1/summarize", b"Short."), {"text": "a", "sentences": 1})
    assert (error.status, error.extra["field"]) == (422, "sentences")
