"""``/v1/moderations``: texts in, a classifier's labels out as OpenAI's clients read them."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.service import Service
from penstock_common.tensors import pack_bytes
from penstock_gateway.protocols.openai.moderations import Moderations
from tests.unit.gateway.protocols.one_servable import OneServable, call

FIELD = Field("comment", FieldKind.TEXT, "BYTES", max_length=20)
LABELS = ["harmless", "insult", "threat"]


def serving(*rows: list[float], service: Service = Service.MODERATION) -> OneServable:
    manifest = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.CLASSIFICATION,
        [FIELD],
        [Output("p", "FP32", [3])],
        LABELS,
        service=service,
        harmless_labels=["harmless"],
    )
    return OneServable("m", manifest, (b"".join(struct.pack("<3f", *row) for row in rows),))


async def ask(servable: OneServable, body: Any, limit: int = 10_000) -> Any:
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    reply = await Moderations(servable.dataplane, limit, None)(call(sent))
    assert isinstance(reply.body, bytes)
    return orjson.loads(reply.body)


async def test_a_text_is_flagged_for_its_likeliest_label() -> None:
    """Unless the manifest calls that harmless; scores are those of the other labels."""
    servable = serving([0.25, 0.625, 0.125], [0.5, 0.375, 0.125])
    found = await ask(servable, {"input": ["you fool", "hello"]})
    assert (found["id"][:5], found["model"]) == ("modr-", "m")
    assert found["results"] == [
        {
            "flagged": True,
            "categories": {"insult": True, "threat": False},
            "category_scores": {"insult": 0.625, "threat": 0.125},
            "category_applied_input_types": {"insult": ["text"], "threat": ["text"]},
        },
        {
            "flagged": False,
            "categories": {"insult": False, "threat": False},
            "category_scores": {"insult": 0.375, "threat": 0.125},
            "category_applied_input_types": {"insult": ["text"], "threat": ["text"]},
        },
    ]
    assert servable.inferred[0].inputs == [pack_bytes([b"you fool", b"hello"])]
    assert servable.services == [Service.MODERATION]


async def test_the_request_may_name_the_model() -> None:
    """The answer has the name that was asked; members that are not known do not matter."""
    servable = serving([0.5, 0.25, 0.25])
    found = await ask(servable, {"input": "hello", "model": "m@candidate", "user": "ann"})
    assert (found["model"], servable.services) == ("m@candidate", [])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        ({}, 400, "input"),
        ({"input": 7}, 422, "input"),
        ({"input": []}, 422, None),
        ({"input": [{"type": "text", "text": "a"}]}, 422, "input"),
        ({"input": "a" * 21}, 422, "input"),
        ({"input": "a", "model": 1}, 400, "model"),
    ],
)
async def test_a_bad_body_names_its_member(body: Any, status: int, field: str | None) -> None:
    """And reaches no model; the route makes 400 of 422."""
    servable = serving([0.5, 0.25, 0.25])
    with pytest.raises(PenstockError) as caught:
        await ask(servable, body)
    assert (caught.value.status, caught.value.extra.get("field")) == (status, field)
    assert servable.inferred == []


async def test_a_classifier_without_the_role_is_refused() -> None:
    """A label of it need not be a reproach."""
    with pytest.raises(PenstockError, match="'m' is not for moderation: its manifest says service: text-class"):
        await ask(serving(service=Service.TEXT_CLASSIFICATION), {"input": "a", "model": "m"})


async def test_an_answer_is_bounded() -> None:
    """By the labels of all its texts."""
    with pytest.raises(PenstockError) as caught:
        await ask(serving([0.5, 0.25, 0.25]), {"input": "a"}, limit=100)
    assert (caught.value.status, caught.value.code) == (413, "answer-too-large")
