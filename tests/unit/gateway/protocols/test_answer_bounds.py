"""What bounds a request's time and an answer's size, in both protocols."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any, cast

import ml_dtypes
import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import NUMPY_DTYPES, kind_of
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.model_entry import AliasShare, ModelListing
from penstock_gateway.dataplane.open_streams import OpenStreams
from penstock_gateway.edge.call import Call, Receive
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.protocols.oip import OpenInference
from penstock_gateway.protocols.predict import Predict
from penstock_gateway.signature.answer_size import json_size
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature
from tests.unit.gateway.protocols.one_servable import FreeLease

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.TENSOR, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32", [100])]
)
TENSORS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}


class Model:
    """The only model, version 2, whose every row is answered with a hundred numbers; its own catalog."""

    model = "m"
    version = "2"
    signature = Signature(MANIFEST, "m")

    def __init__(self) -> None:
        self.deadlines: list[float] = []
        self.dataplane = DataPlane(cast(Catalog, self), DisconnectWatch(), OpenStreams(8, 4))

    def resolve(self, model: str, version: str, allowed: object) -> Model:
        return self

    def listing(self, name: str) -> ModelListing:
        aliases = {"production": [AliasShare("10", 90), AliasShare("2", 10)], "candidate": [AliasShare("2", 100)]}
        return ModelListing("m", 0, True, "", aliases, ["1", "2", "10"], [])

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        self.deadlines.append(deadline)
        future: asyncio.Future[RawOutputs] = asyncio.get_running_loop().create_future()
        future.set_result(RawOutputs([np.ones((rows.count, 100), np.float32).tobytes()]))
        return future


def call(body: Any) -> Call:
    content = json.dumps(body).encode()
    return Call(
        {"model": "m"}, {}, content, Principal("ann", "Ann"), time.monotonic() + 10, cast(Receive, None), FreeLease()
    )


async def test_a_row_too_many_is_refused_before_the_answer_is_built() -> None:
    """/v1 answers what fits max_answer_bytes as JSON; beyond it is 413, naming the bound."""
    predict = Predict(Model().dataplane, "m", max_answer_bytes=10_000)
    assert (await predict(call([{"x": 1}] * 4))).status == 200
    with pytest.raises(PenstockError, match="up to 12,000 bytes, 10,000 are allowed") as caught:
        await predict(call([{"x": 1}] * 5))
    assert (caught.value.status, caught.value.code) == (413, "answer-too-large")


async def test_binary_data_takes_less() -> None:
    """/v2 has the same bound; what is too large as JSON may fit as binary data."""
    v2 = OpenInference(Model().dataplane, cast(Catalog, None), max_answer_bytes=2000)
    with pytest.raises(PenstockError, match="2,400 bytes, 2,000 are allowed"):
        await v2.infer(call(TENSORS))
    assert (await v2.infer(call(TENSORS | {"parameters": {"binary_data_output": True}}))).status == 200


@pytest.mark.parametrize(("timeout", "shorter"), [(1_000_000, True), (60_000_000, False), (0, False)])
async def test_the_protocols_timeout_shortens_the_deadline(timeout: int, shorter: bool) -> None:
    """Triton's parameter may allow less time than the gateway does, never more."""
    model = Model()
    request = call(TENSORS | {"parameters": {"timeout": timeout}})
    deadline = request.deadline
    await OpenInference(model.dataplane, cast(Catalog, None)).infer(request)
    assert (model.deadlines[0] < deadline - 5) is shorter
    assert model.deadlines[0] <= deadline


async def test_an_output_that_does_not_exist_is_refused_before_the_model_is_asked() -> None:
    """The model does no work for an answer that nobody gets."""
    model = Model()
    with pytest.raises(PenstockError, match="no output 'z'"):
        await OpenInference(model.dataplane, cast(Catalog, None)).infer(call(TENSORS | {"outputs": [{"name": "z"}]}))
    assert model.deadlines == []


async def test_metadata_lists_the_versions_that_get_traffic() -> None:
    """All that a request may name, each once, in the order of their numbers; not those that no alias points at."""
    model = Model()
    reply = await OpenInference(model.dataplane, cast(Catalog, model)).metadata(call({}))
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body)["versions"] == ["2", "10"]


@pytest.mark.parametrize("datatype", ["BF16", "FP16", "FP32", "FP64", "INT8", "INT64", "UINT64", "BOOL"])
def test_no_number_is_longer_than_expected(datatype: str) -> None:
    """The longest number of a datatype, as JSON in a list, is within what is expected of it."""
    dtype = NUMPY_DTYPES[datatype]
    extremes: list[Any] = [False] if datatype == "BOOL" else []
    if kind_of(dtype) == "f":
        extremes = [
            -ml_dtypes.finfo(dtype).max,
            -ml_dtypes.finfo(dtype).tiny,
            -ml_dtypes.finfo(dtype).smallest_subnormal,
            dtype.type(-1 / 3),
        ]
    elif dtype.kind in "iu":
        extremes = [np.iinfo(dtype).min, np.iinfo(dtype).max]
    for value in extremes:
        array = np.array([value], dtype)
        assert len(json.dumps(array.tolist())) - 2 + 1 <= json_size(array.tobytes(), datatype)
