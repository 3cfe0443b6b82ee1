"""The way of a request: resolve, validate, admit, infer, account."""

from __future__ import annotations

import asyncio
import struct
import time
from typing import cast

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.open_streams import OpenStreams
from penstock_gateway.edge.call import Call, Receive
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.limits.admission import Usage
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)
ROWS = Rows([b"\0\0\0\0" * 2], 2)


class World:
    """A catalog of one servable and an admission, which note the order in which they are asked."""

    model, version = "price", "1"

    def __init__(self, refusal: PenstockError | None = None) -> None:
        self.signature = Signature(MANIFEST, "price")
        self.steps: list[object] = []
        self._refusal = refusal
        self.dataplane = DataPlane(cast(Catalog, self), DisconnectWatch(), OpenStreams(8, 4))

    def resolve(self, model: str, version: str, allowed: object) -> World:
        self.steps.append(("resolve", model, version))
        return self

    def grow(self, size: int) -> None:
        self.steps.append(("grow", size))

    async def admit(self, model: str, rows: int) -> None:
        if self._refusal is not None:
            raise self._refusal
        self.steps.append(("admit", model, rows))

    def headers(self) -> list[tuple[bytes, bytes]]:
        return []

    def settle(self, usage: Usage) -> None:
        self.steps.append(("settle", usage))

    async def ready(self) -> bool:
        return True

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        self.steps.append(("infer", rows.count))
        future: asyncio.Future[RawOutputs] = asyncio.get_running_loop().create_future()
        future.set_result(RawOutputs([b"\0\0\0\0" * 2]))
        return future


def call(world: World, principal: Principal | None = None) -> Call:
    """An authenticated request that ``world`` has let in."""
    deadline = time.monotonic() + 5
    return Call({}, {}, b"body", principal or Principal("ann", "Ann"), deadline, cast(Receive, None), world)


async def test_the_order_of_the_way() -> None:
    """A request is resolved, validated, admitted for its rows, and answered."""
    world = World()
    request = call(world)

    def parse(call: Call, signature: Signature) -> Rows:
        world.steps.append("parse")
        return ROWS

    answer = await world.dataplane.infer(request, "price@candidate", "", parse)
    assert world.steps == [
        ("resolve", "price@candidate", ""),
        "parse",
        ("admit", "price", 2),
        ("infer", 2),
    ]
    assert answer.outputs == RawOutputs([b"\0\0\0\0" * 2])


async def test_a_protocol_may_take_its_time_to_parse() -> None:
    """Rows may come from an awaitable: a form is read piece by piece."""
    world = World()

    async def parse(call: Call, signature: Signature) -> Rows:
        await asyncio.sleep(0)
        return ROWS

    assert (await world.dataplane.infer(call(world), "price", "", parse)).rows is ROWS


async def test_rows_that_do_not_fit_are_never_admitted() -> None:
    """A request that fails its check reserves nothing."""
    world = World()
    request = call(world)

    def parse(call: Call, signature: Signature) -> Rows:
        raise PenstockError(422, "invalid-input", "Field 'x' is missing.")

    with pytest.raises(PenstockError, match="missing"):
        await world.dataplane.infer(request, "price", "", parse)
    assert world.steps == [("resolve", "price", "")]


async def test_what_admission_refuses_never_reaches_the_model() -> None:
    """The refusal is the caller's answer."""
    world = World(PenstockError(429, "quota", "The quota is used up."))
    request = call(world)
    with pytest.raises(PenstockError, match="quota"):
        await world.dataplane.infer(request, "price", "", lambda *_: ROWS)
    assert not [step for step in world.steps if step[0] == "infer"]  # type: ignore[index]


@pytest.mark.parametrize("model", ["price", "price@candidate"])
async def test_a_caller_asks_only_the_models_that_it_may(model: str) -> None:
    """A principal with globs of models is refused for every other with 403, aliases included; ! excludes."""
    world = World()
    parse = lambda *_: ROWS  # noqa: E731
    allowed = Principal("ann", "Ann", models=("pr*", "!prices"))
    assert (await world.dataplane.infer(call(world, allowed), model, "", parse)).rows is ROWS
    other = Principal("bob", "Bob", models=("*", "!price"))
    with pytest.raises(PenstockError) as refused:
        await world.dataplane.infer(call(world, other), model, "", parse)
    assert (refused.value.status, refused.value.code) == (403, "model-not-allowed")


async def test_a_reply_has_the_version_and_the_usage() -> None:
    """Every protocol's answer names the version that gave it and reports its rows."""
    world = World()
    answer = await world.dataplane.infer(call(world), "price", "", lambda *_: ROWS)
    reply = answer.reply(b"{}", headers=((b"x", b"y"),))
    assert reply.headers == [(b"x-model-version", b"1"), (b"x", b"y")]
    assert reply.usage == Usage(rows=2)


async def test_images_cost_what_their_pixels_do() -> None:
    """A file of few bytes and many pixels is charged for these before it is admitted, and weighs as much in queues."""
    world = World()
    field = Field("image", FieldKind.IMAGE, "BYTES")
    world.signature = Signature(Manifest(Format.ONNX, "m.onnx", Task.REGRESSION, [field], [Output("y", "FP32")]), "m")
    image = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 6000, 5000) + bytes(9)
    rows = Rows([pack_bytes([image, image])], 2)
    await world.dataplane.infer(call(world), "price", "", lambda call, signature: rows)
    assert world.steps == [("resolve", "price", ""), ("grow", 10_000_000), ("admit", "price", 2), ("infer", 2)]
    assert rows.image_work == 10_000_000
