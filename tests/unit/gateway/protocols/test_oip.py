"""``/v2``: the Open Inference Protocol's routes."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.version import VERSION
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.model_entry import AliasShare, LoadState, ModelListing
from penstock_gateway.edge.call import Reply
from penstock_gateway.limits.admission import Usage
from penstock_gateway.protocols.oip import OpenInference
from tests.unit.gateway.protocols.one_servable import OneServable, call

MANIFEST = Manifest(
    Format.ONNX,
    "m.onnx",
    Task.TENSOR,
    [Field("x", FieldKind.TENSOR, "FP32", shape=[2])],
    [Output("y", "FP32"), Output("z", "INT64", [1])],
)
Y, Z = struct.pack("<f", 0.5), struct.pack("<q", 7)
INPUT: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
JSON = orjson.dumps({"inputs": [INPUT | {"data": [1, 2]}]})
LENGTH = b"inference-header-content-length"


def serving(*listings: ModelListing) -> tuple[OneServable, OpenInference]:
    servable = OneServable("price", MANIFEST, (Y, Z), listings)
    return servable, OpenInference(servable.dataplane, servable.catalog)


def content(reply: Reply) -> Any:
    assert isinstance(reply.body, bytes)
    return orjson.loads(reply.body)


async def test_json_in_and_out() -> None:
    """Every output with its type, its shape of one row and its values; the version is in the body and in a header."""
    servable, v2 = serving()
    reply = await v2.infer(call(JSON, model="price@candidate", version="3"))
    assert content(reply) == {
        "model_name": "price",
        "model_version": "3",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1], "data": [0.5]},
            {"name": "z", "datatype": "INT64", "shape": [1, 1], "data": [7]},
        ],
    }
    assert (reply.content_type, reply.usage) == (b"application/json", Usage(rows=1))
    assert reply.headers == [(b"x-model-version", b"3")]
    assert servable.resolved == [("price@candidate", "3")]


async def test_binary_tensors_in_and_out() -> None:
    """The header says where the JSON ends, of the request and of the answer, which is an octet stream."""
    servable, v2 = serving()
    raw = struct.pack("<2f", 1, 2)
    inputs = [INPUT | {"parameters": {"binary_data_size": len(raw)}}]
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    reply = await v2.infer(call(head + raw, {LENGTH: b"%d" % len(head)}, model="price"))
    assert servable.inferred[0].inputs == [raw]
    assert reply.content_type == b"application/octet-stream"
    length = int(dict(reply.headers)[LENGTH])
    assert isinstance(reply.body, bytes)
    assert [output["name"] for output in orjson.loads(reply.body[:length])["outputs"]] == ["y", "z"]
    assert reply.body[length:] == Y + Z


@pytest.mark.parametrize("given", [b"", b"x", b"-1", b"1.5", b"%d" % (len(JSON) + 1), b"9" * 50, "²".encode()])
async def test_a_header_length_is_a_number_within_the_body(given: bytes) -> None:
    """Any other is 400, names the header and the bound, which is the body's size, and reaches no model."""
    servable, v2 = serving()
    with pytest.raises(PenstockError, match=f"from 0 to {len(JSON)}") as caught:
        await v2.infer(call(JSON, {LENGTH: given}, model="price"))
    assert (caught.value.status, caught.value.code) == (400, "bad-inference-header")
    assert servable.inferred == []


async def test_a_header_length_may_be_the_whole_body() -> None:
    """Clients that send no binary data may send the header nevertheless."""
    _, v2 = serving()
    assert (await v2.infer(call(JSON, {LENGTH: b"%d" % len(JSON)}, model="price"))).status == 200


async def test_an_input_that_the_model_lacks_is_422() -> None:
    """The signature is checked here too."""
    servable, v2 = serving()
    body = orjson.dumps({"inputs": [INPUT | {"name": "w", "data": [1, 2]}]})
    with pytest.raises(PenstockError, match="'w'") as caught:
        await v2.infer(call(body, model="price"))
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")
    assert servable.inferred == []


async def test_metadata_are_the_signature() -> None:
    """Names, types and shapes, with -1 for the number of rows."""
    servable, v2 = serving()
    assert content(await v2.metadata(call(model="price", version="3"))) == {
        "name": "price",
        "versions": ["3"],
        "platform": "penstock_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [-1]},
            {"name": "z", "datatype": "INT64", "shape": [-1, 1]},
        ],
    }
    assert servable.resolved == [("price", "3")]


async def test_a_model_that_can_be_asked_is_ready() -> None:
    """Ready is whatever the catalog would let answer; if it would not, its problem says why."""
    servable, v2 = serving()
    assert content(await v2.ready(call(model="price"))) == {"name": "price", "ready": True}

    def loading(model: str, version: str, allowed: object) -> OneServable:
        raise PenstockError(503, "model-loading", "It is being loaded.")

    servable.resolve = loading  # type: ignore[method-assign]
    with pytest.raises(PenstockError, match="being loaded"):
        await v2.ready(call(model="price"))


async def test_a_model_whose_pods_do_not_answer_is_not_ready() -> None:
    """Readiness is what the pods say now, not what they said when the version was loaded."""
    servable, v2 = serving()

    async def silent() -> bool:
        return False

    servable.ready = silent  # type: ignore[method-assign]
    with pytest.raises(PenstockError) as refused:
        await v2.ready(call(model="price"))
    assert (refused.value.status, refused.value.code) == (503, "model-not-ready")


async def test_the_server_says_what_it_can() -> None:
    """Its version and the extensions that clients ask for."""
    _, v2 = serving()
    server = content(await v2.server(call()))
    assert (server["name"], server["version"]) == ("penstock", VERSION)
    assert "binary_tensor_data" in server["extensions"]


def listing(model: str, **aliases: list[str]) -> ModelListing:
    shares = {name: [AliasShare(version, 50) for version in versions] for name, versions in aliases.items()}
    return ModelListing(model, 0, True, "", shares, ["1", "2", "3", "10"], [])


async def test_the_index_has_what_aliases_point_at() -> None:
    """Each version that gets traffic is listed once, in the order of its number; a model without any is left out."""
    _, v2 = serving(
        listing("digits"), listing("price", production=["10", "2"], candidate=["10"]), listing("spam", a=["1"])
    )
    index = content(await v2.index(call()))
    assert [(entry["name"], entry["version"]) for entry in index] == [("price", "2"), ("price", "10"), ("spam", "1")]
    assert {entry["state"] for entry in index} == {"READY"}


async def test_the_index_of_a_key_that_is_bound_to_models_has_those() -> None:
    """Other models' names are no business of its owner."""
    _, v2 = serving(listing("price", production=["1"]), listing("spam", production=["1"]))
    bound = call()
    bound.principal = Principal("bob", "Bob", models=("spam",))
    assert [entry["name"] for entry in content(await v2.index(bound))] == ["spam"]


async def test_the_index_has_what_is_loading_and_why_it_failed() -> None:
    """A version that is to get traffic is listed with Triton's state and the pod's reason."""
    loads = [LoadState("2", "loading", "", "now", 10), LoadState("3", "failed", "OSError: no file", "now", 10)]
    _, v2 = serving(ModelListing("spam", 0, True, "", {}, ["1", "2", "3"], loads))
    assert content(await v2.index(call())) == [
        {"name": "spam", "version": "2", "state": "LOADING", "reason": ""},
        {"name": "spam", "version": "3", "state": "UNAVAILABLE", "reason": "OSError: no file"},
    ]


async def test_without_a_batch_shapes_have_no_rows() -> None:
    """In the metadata, the request and the answer; a scalar has no dimension at all."""
    manifest = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.TENSOR,
        [
            Field("image", FieldKind.TENSOR, "FP32", shape=["height", 2]),
            Field("sr", FieldKind.INTEGER, "INT64", constant=8),
        ],
        [Output("y", "FP32"), Output("boxes", "FP32", [-1, -1])],
        batch=False,
    )
    servable = OneServable("whole", manifest, (Y, struct.pack("<2f", 1, 2)), shapes=[(), (2, 1)])
    v2 = OpenInference(servable.dataplane, servable.catalog)
    metadata = content(await v2.metadata(call(model="whole")))
    assert [tensor["shape"] for tensor in metadata["inputs"]] == [[-1, 2]]
    assert [tensor["shape"] for tensor in metadata["outputs"]] == [[], [-1, -1]]
    body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    answered = content(await v2.infer(call(orjson.dumps(body), model="whole")))["outputs"]
    assert answered == [
        {"name": "y", "datatype": "FP32", "shape": [], "data": [0.5]},
        {"name": "boxes", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]},
    ]
