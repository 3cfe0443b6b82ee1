"""``/v1/embeddings``: texts in, vectors out, as OpenAI's clients read them."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.edge.call import Reply
from penstock_gateway.protocols.openai.embeddings import Embeddings
from tests.unit.gateway.protocols.one_servable import OneServable, call

TEXT = Field("sentence", FieldKind.TEXT, "BYTES")
VECTORS = np.array([[3.0, 4.0, 0.1], [0.0, -1.0, 0.2]], np.float32)
TOKENS = np.array([3, 5], np.int32)


def serving(*fields: Field, outputs: tuple[Output, ...] | None = None) -> tuple[OneServable, Embeddings]:
    """A model that answers ``VECTORS`` and ``TOKENS`` for two texts."""
    declared = [Output("vector", "FP32", [3]), Output("tokens", "INT32")] if outputs is None else list(outputs)
    manifest = Manifest(Format.ONNX, "m.onnx", Task.TENSOR, list(fields or (TEXT,)), declared)
    servable = OneServable("minilm", manifest, (VECTORS.tobytes(), TOKENS.tobytes())[: len(declared)])
    return servable, Embeddings(servable.dataplane, 150)


async def ask(embeddings: Embeddings, **members: Any) -> dict[str, Any]:
    reply: Reply = await embeddings(call(orjson.dumps({"model": "minilm", "input": ["a", "b"], **members})))
    assert isinstance(reply.body, bytes)
    answer: dict[str, Any] = orjson.loads(reply.body)
    return answer


async def refused(embeddings: Embeddings, **members: Any) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        await ask(embeddings, **members)
    return caught.value


async def test_each_text_becomes_a_vector() -> None:
    """In the order of the texts, which travel as rows of one request; tokens are counted by the model."""
    servable, embeddings = serving()
    answer = await ask(embeddings)
    assert [(d["object"], d["index"]) for d in answer["data"]] == [("embedding", 0), ("embedding", 1)]
    assert np.array_equal(np.array([d["embedding"] for d in answer["data"]], np.float32), VECTORS)
    assert (answer["object"], answer["model"]) == ("list", "minilm")
    assert answer["usage"] == {"prompt_tokens": 8, "total_tokens": 8}
    assert [rows.count for rows in servable.inferred] == [2]


async def test_base64_has_the_same_bits_as_the_numbers() -> None:
    """What the clients ask for by default: float32, little-endian."""
    _, embeddings = serving()
    numbers, encoded = await ask(embeddings), await ask(embeddings, encoding_format="base64")
    for number, text in zip(numbers["data"], encoded["data"], strict=True):
        assert np.array(number["embedding"], "<f4").tobytes() == base64.b64decode(text["embedding"])


async def test_fewer_dimensions_are_the_first_ones_at_length_1() -> None:
    """As OpenAI shortens vectors; all of them are the vector as it is."""
    _, embeddings = serving()
    short = await ask(embeddings, dimensions=2)
    assert short["data"][0]["embedding"] == pytest.approx([0.6, 0.8])
    whole = await ask(embeddings, dimensions=3)
    assert whole["data"][0]["embedding"] == pytest.approx([3.0, 4.0, 0.1])


@pytest.mark.parametrize("dimensions", [0, -1, 4])
async def test_dimensions_that_the_model_does_not_have_are_refused(dimensions: int) -> None:
    """The refusal names the member and how many there are; the model is not asked."""
    servable, embeddings = serving()
    err = await refused(embeddings, dimensions=dimensions)
    assert servable.inferred == []
    assert (err.status, err.extra, "1 to 3" in err.detail) == (400, {"field": "dimensions"}, True)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input[0]"),
        ({"input": ["a", [1, 2]]}, "input[1]"),
        ({"input": {"a": 1}}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"model": 3}, "model"),
        ({"model": "m" * 257}, "model"),
    ],
)
async def test_a_request_that_means_nothing_here_is_refused(members: dict[str, Any], param: str) -> None:
    """The error names the member; token ids are refused, since they are those of another tokenizer."""
    err = await refused(serving()[1], **members)
    assert (err.status, err.extra) == (400, {"field": param})


async def test_a_number_of_any_length_is_refused() -> None:
    """JSON bounds no whole number."""
    body = b'{"model": "minilm", "input": "a", "dimensions": 1%b}' % (b"0" * 40)
    with pytest.raises(PenstockError, match="dimensions"):
        await serving()[1](call(body))


async def test_more_texts_than_rows_are_refused_before_they_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text would become an object of many times its size."""
    servable, embeddings = serving()
    monkeypatch.setattr(servable.signature.decoder, "decode_json", None)
    err = await refused(embeddings, input=["a"] * 1025)
    assert (err.status, err.code) == (413, "too-many-rows")


async def test_an_answer_beyond_the_bound_is_refused_before_the_model_is_asked() -> None:
    """Its size is known from the texts and the width; base64 and fewer dimensions take less."""
    servable, embeddings = serving()
    err = await refused(embeddings, input=["a"] * 3)
    assert (err.status, err.code, servable.inferred) == (413, "answer-too-large", [])
    await refused(embeddings, input=["a"] * 9, encoding_format="base64")
    assert servable.inferred == []
    assert len((await ask(embeddings, encoding_format="base64"))["data"]) == 2


async def test_a_number_too_large_for_a_client_is_the_models_fault() -> None:
    """A float64 beyond float32 is refused; it would become infinity, which JSON cannot write."""
    manifest = Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [TEXT], [Output("vector", "FP64", [1])])
    servable = OneServable("minilm", manifest, (np.array([1.0, 1e300]).tobytes(),))
    assert (await refused(Embeddings(servable.dataplane, 150))).code == "bad-model-answer"


async def test_members_that_change_nothing_are_accepted() -> None:
    """Clients send the user's name and more."""
    assert (await ask(serving()[1], user="ann"))["object"] == "list"


@pytest.mark.parametrize(
    "model",
    [
        serving(Field("area", FieldKind.NUMBER, "FP32")),
        serving(TEXT, Field("other", FieldKind.TEXT, "BYTES")),
        serving(outputs=(Output("y", "FP32"),)),
    ],
)
async def test_a_model_that_makes_no_vectors_of_texts_is_refused(model: tuple[OneServable, Embeddings]) -> None:
    """Nothing reaches the model."""
    servable, embeddings = model
    err = await refused(embeddings)
    assert (err.status, err.extra, servable.inferred) == (400, {"field": "model"}, [])


async def test_usage_is_left_out_if_the_model_counts_no_tokens() -> None:
    """Rather than a number that is made up."""
    assert "usage" not in await ask(serving(outputs=(Output("vector", "FP32", [3]),))[1])
