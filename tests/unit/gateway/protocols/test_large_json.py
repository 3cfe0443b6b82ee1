"""Large JSON is decoded in a process of its own, as it would be in the gateway."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.decoders.pool import DecoderPool
from penstock_gateway.protocols import oip_request
from penstock_gateway.protocols.large_json import PROCESS, LargeJson
from penstock_gateway.protocols.oip import OpenInference
from penstock_gateway.protocols.predict import Predict
from penstock_gateway.signature.column import Column
from penstock_gateway.signature.signature import Signature
from tests.unit.gateway.protocols.one_servable import OneServable, call

MANIFEST = Manifest(
    Format.ONNX,
    "m.onnx",
    Task.TENSOR,
    [Field("x", FieldKind.TENSOR, "FP32", [4]), Field("note", FieldKind.TEXT, "BYTES", required=False, default="-")],
    [Output("y", "FP32")],
)
SIGNATURE = Signature(MANIFEST, "m")
TENSOR = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": list(range(8))}


@pytest.fixture(autouse=True)
def a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_GATEWAY_REGISTRY_TOKEN", "secret")


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    """One process, which is started when it is first needed and gone at the end."""
    before = {child.pid for child in psutil.Process().children()}
    pool = DecoderPool(PROCESS, 1)
    yield pool
    await pool.close()
    assert {child.pid for child in psutil.Process().children()} <= before


def process() -> psutil.Process:
    (found,) = [child for child in psutil.Process().children() if PROCESS in child.cmdline()]
    return found


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("value", [{"x": [1, 2, 3, 4]}, [{"x": [1, 2, 3, 4], "note": "é"}, {"x": [5.5, 6, 7, 8]}]])
async def test_rows_are_the_same(pool: DecoderPool, value: Any) -> None:
    """Inputs, their count and whether they were a list are what the gateway's own decoder finds."""
    assert await LargeJson(pool, 0).rows(call(body(value)), SIGNATURE) == SIGNATURE.decoder.decode_json(body(value))


async def test_shapes_that_vary_are_the_same(pool: DecoderPool) -> None:
    """Of a field whose sizes are the request's, and of one that is absent."""
    fields = [
        Field("image", FieldKind.TENSOR, "FP32", [1, "height", "width"]),
        Field("mask", FieldKind.TENSOR, "FP32", ["height", "width"], required=False),
    ]
    signature = Signature(Manifest(Format.ONNX, "m.onnx", Task.TENSOR, fields, [Output("y", "FP32")]), "m")
    value = body({"image": [[[1, 2, 3], [4, 5, 6]]]})
    rows = await LargeJson(pool, 0).rows(call(value), signature)
    assert rows == signature.decoder.decode_json(value)
    assert rows.shapes == ((1, 2, 3), None)


@pytest.mark.parametrize("values", [b'"a"', b'["a", "b"]'])
async def test_columns_are_the_same(pool: DecoderPool, values: bytes) -> None:
    """What a task's route asks about, with the other fields of each row."""
    column = Column("note", msgspec.Raw(values), {"x": [1, 2, 3, 4]})
    rows = await LargeJson(pool, 0).column(call(), column, SIGNATURE)
    assert rows == column.rows(SIGNATURE.decoder)
    assert rows.inputs[1] in (b"\x01\0\0\0a", b"\x01\0\0\0a\x01\0\0\0b")


async def test_tensors_are_the_same(pool: DecoderPool) -> None:
    """Of the Open Inference Protocol too; what else its request says comes with them."""
    value = {"id": "7", "inputs": [TENSOR], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    request, rows = await LargeJson(pool, 0).tensors(call(body(value)), SIGNATURE, None)
    own = oip_request.decode(body(value), None)
    assert rows == SIGNATURE.decoder.decode_tensors(own.tensors)
    own.tensors = []
    assert request == own


@pytest.mark.parametrize("value", [b"{", b'{"x": [1]}', b'[{"x": [1, 2, 3, 4]}, {"y": 1}]', b"[]"])
async def test_refusals_are_the_same(pool: DecoderPool, value: bytes) -> None:
    """A body that does not fit gets the error that names what is wrong."""
    with pytest.raises(PenstockError) as own:
        SIGNATURE.decoder.decode_json(value)
    with pytest.raises(PenstockError) as told:
        await LargeJson(pool, 0).rows(call(value), SIGNATURE)
    assert told.value.problem() == own.value.problem()


async def test_both_protocols_send_large_bodies_there_and_small_ones_not(pool: DecoderPool) -> None:
    """A body over the bound starts the process."""
    world = OneServable("m", MANIFEST, (b"\0\0\0\0" * 2,))
    large = LargeJson(pool, 1000)
    predict, v2 = (
        Predict(world.dataplane, "m", large_json=large),
        OpenInference(world.dataplane, world.catalog, large_json=large),
    )
    rows = body([{"x": [1, 2, 3, 4]}, {"x": [5, 6, 7, 8]}])
    tensors = body({"inputs": [TENSOR]})
    await predict(call(rows))
    await v2.infer(call(tensors, model="m"))
    assert not [child for child in psutil.Process().children() if PROCESS in child.cmdline()]
    await predict(call(rows + b" " * 1000))
    await v2.infer(call(tensors + b" " * 1000, model="m"))
    assert process()
    small, large_ones = world.inferred[:2], world.inferred[2:]
    assert [rows.inputs for rows in large_ones] == [rows.inputs for rows in small]


async def test_the_process_has_no_secrets(pool: DecoderPool) -> None:
    """Nothing of the gateway's settings is in its environment."""
    await LargeJson(pool, 0).rows(call(body({"x": [1, 2, 3, 4]})), SIGNATURE)
    assert not [name for name in process().environ() if name.startswith("PENSTOCK")]


async def test_a_process_that_has_died_is_replaced(pool: DecoderPool) -> None:
    """The next body is decoded by another one, and its caller sees nothing of it."""
    large = LargeJson(pool, 0)
    good = body({"x": [1, 2, 3, 4]})
    await large.rows(call(good), SIGNATURE)
    first = process()
    first.kill()
    later = call(good)
    later.deadline += 60
    assert (await large.rows(later, SIGNATURE)).count == 1
    assert process().pid != first.pid


async def test_a_body_that_kills_its_process_is_refused(pool: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 413, after a try on a process of its own; here, none survives its start."""
    monkeypatch.setattr(pool, "_module", "penstock_gateway.decoders.no_such_module")
    late = call(body({"x": [1, 2, 3, 4]}))
    late.deadline += 60
    with pytest.raises(PenstockError) as caught:
        await LargeJson(pool, 0).rows(late, SIGNATURE)
    assert (caught.value.status, caught.value.code) == (413, "body-too-large")


async def test_who_cannot_wait_gets_504(pool: DecoderPool) -> None:
    """At the request's deadline, whether it waits for a process or for its result; the process goes on with the next."""
    large = LargeJson(pool, 0)
    late = call(body({"x": [1, 2, 3, 4]}))
    late.deadline = time.monotonic()
    with pytest.raises(PenstockError) as caught:
        await large.rows(late, SIGNATURE)
    assert (caught.value.status, caught.value.code) == (504, "deadline-exceeded")
    assert (await large.rows(call(late.body), SIGNATURE)).count == 1


async def test_a_process_that_hangs_is_killed(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After its longest time; its request is refused and the next one is answered."""
    large = LargeJson(pool, 0)
    good = body({"x": [1, 2, 3, 4]})
    await large.rows(call(good), SIGNATURE)
    stuck = process()
    stuck.suspend()
    with monkeypatch.context() as shorter:
        shorter.setattr("penstock_gateway.decoders.pool._MOST_SECONDS", 0.05)
        with pytest.raises(PenstockError) as caught:
            await large.rows(call(good), SIGNATURE)
    assert (caught.value.status, caught.value.code) == (413, "body-too-large")
    assert not stuck.is_running()
    later = call(good)
    later.deadline += 60
    assert (await large.rows(later, SIGNATURE)).count == 1
