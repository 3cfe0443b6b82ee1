"""Nothing of a request outlives it: bodies, frames and connections are freed without the collector of cycles."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import Version
from penstock_gateway.auth.authenticator import Headers
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.open_streams import OpenStreams
from penstock_gateway.dataplane.pod_version import PodVersion
from penstock_gateway.edge.access_log import AccessLog
from penstock_gateway.edge.body_budget import BodyBudget
from penstock_gateway.edge.call import Call, Handler, Reply
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.endpoint import Endpoint, Guard
from penstock_gateway.edge.health import Health
from penstock_gateway.limits.local import LocalAdmission
from penstock_gateway.limits.token_bucket import TokenBuckets
from penstock_gateway.protocols.predict import Predict
from tests.unit.gateway.edge.front_door import App, echo, listening, refuse

ANN = Principal("ann", "Ann")


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """What is freed in these tests is freed at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Anyone:
    def authenticate(self, headers: Headers) -> Principal:
        return ANN


def guard(**changes: Any) -> Guard:
    parts: dict[str, Any] = {
        "authenticator": Anyone(),
        "admission": LocalAdmission(TokenBuckets(1e6, 1e6)),
        "health": Health(),
        "disconnects": DisconnectWatch(),
        "bodies": BodyBudget(10_000, 10_000, 0),
        "timeout_seconds": 10.0,
        "body_seconds": 10.0,
        "max_body_bytes": 5_000,
        "access_log": AccessLog(log_all=False, refusals=10),
    }
    return Guard(**parts | changes)


async def ask(handler: Handler, body: bytes, of: Guard | None = None) -> int:
    """The status that ``handler`` answers to ``body``."""
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/", "path_params": {"model": "m"}, "headers": []}
    await Endpoint("test", of or guard(), handler)(scope, receive, send)
    return int(sent[0]["status"])


async def kept_in_its_frame(call: Call) -> Reply:
    """A frame that holds both the body and the error."""
    body = call.body
    problem = PenstockError(422, "invalid-input", f"{len(body)} bytes are wrong.")
    raise problem


async def kept_behind_another(call: Call) -> Reply:
    try:
        await kept_in_its_frame(call)
    except PenstockError as err:
        cause = err
        raise PenstockError(400, "worse", "Worse.") from cause
    raise AssertionError


async def kept_before_another(call: Call) -> Reply:
    try:
        await kept_in_its_frame(call)
    except PenstockError as err:
        context = err
        raise PenstockError(400, "worse", f"Worse than {context.code}.") from None
    raise AssertionError


async def a_defect(call: Call) -> Reply:
    body = call.body
    defect = RuntimeError(len(body))
    raise defect


async def from_a_future(call: Call) -> Reply:
    failed: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    failed.set_exception(PenstockError(503, "overloaded", "Full."))
    body = call.body
    assert body
    return await failed


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (kept_in_its_frame, 422),
        (kept_behind_another, 400),
        (kept_before_another, 400),
        (a_defect, 500),
        (from_a_future, 503),
    ],
)
async def test_an_error_does_not_keep_the_body(handler: Handler, status: int) -> None:
    """However an error came about and whichever frame holds it, the body is free once it is answered."""
    body = bytes(4000)
    before = sys.getrefcount(body)
    assert await ask(handler, body) == status
    assert sys.getrefcount(body) == before


async def test_a_refused_body_is_not_kept() -> None:
    """A body over its bound or the budget's is not held by the refusal, and the budget is as before."""
    for size, budget, status in ((6000, BodyBudget(10_000, 10_000, 0), 413), (4000, BodyBudget(9_000, 3_000, 0), 429)):
        body = bytes(size)
        before = sys.getrefcount(body)
        assert await ask(kept_in_its_frame, body, guard(bodies=budget)) == status
        assert sys.getrefcount(body) == before
        assert budget.held == 0


def predict(send: Callable[[Any, float], Awaitable[list[Any]]]) -> Predict:
    """The prediction route over one model that ``send`` answers for."""
    manifest = Manifest(
        Format.ONNX,
        "m.onnx",
        Task.CLASSIFICATION,
        [Field("text", FieldKind.TEXT, "BYTES", max_length=100)],
        [Output("p", "FP32", [2])],
        ["ham", "spam"],
    )

    async def ready() -> bool:
        return True

    version = PodVersion(
        Version("m", 1, manifest, [], "2026-01-01T00:00:00Z"),
        Coalescer(send, blames_item=lambda _: True),
        ready,
        cast(Any, None),
    )

    class One:
        def resolve(self, model: str, version_: str, allowed: object) -> PodVersion:
            return version

    watch = DisconnectWatch()
    return Predict(DataPlane(One(), watch, OpenStreams(8, 4)), "m")  # type: ignore[arg-type]


async def unreachable(_: Any, __: float) -> list[Any]:
    problem = PenstockError(503, "upstream-unavailable", "No pod.")
    raise problem


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b"{" * 3000, 400),
        (b"\xff" * 3000, 400),
        (json.dumps({"other": "x" * 3000}).encode(), 422),
        (json.dumps({"text": "x" * 3000}).encode(), 422),
        (json.dumps({"text": 7, "x": "x" * 3000}).encode(), 422),
        (json.dumps([{"text": "x"}] * 300).encode(), 503),
    ],
    ids=["json", "utf-8", "field", "length", "kind", "upstream"],
)
async def test_a_prediction_that_fails_does_not_keep_its_body(value: bytes, status: int) -> None:
    """From the parser to the pods."""
    handler = predict(unreachable)
    await ask(handler, b"{}")  # what is made once stays
    before = sys.getrefcount(value)
    assert await ask(handler, value, guard(max_body_bytes=100_000, bodies=BodyBudget(10**6, 10**6, 0))) == status
    await asyncio.sleep(0)
    assert sys.getrefcount(value) == before


@pytest.mark.parametrize(
    ("app", "data", "answered"),
    [
        (echo, b"GET / HTTP/1.1\r\n\r\n", True),
        (echo, b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", False),
        (echo, b"?\r\n\r\n", True),
        (echo, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5, True),
        (refuse, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", True),
    ],
    ids=["answered", "left", "not HTTP", "over a bound", "refused early"],
)
async def test_a_closed_connection_leaves_no_cycle(app: App, data: bytes, answered: bool) -> None:
    """Protocol, parser, request and transport go with the connection, however it ends."""
    async with listening(app, max_header_fields=3) as server:

        async def one() -> None:
            client = await server.connect()
            await client.send(data)
            if answered:
                await client.answer()
            client.close()
            async with asyncio.timeout(5):
                while server.state.connections or server.state.tasks:
                    await asyncio.sleep(0)

        for _ in range(3):
            await one()
        gc.collect()
        for _ in range(50):
            await one()
        left = gc.collect()
        assert left < 50, f"{left} objects of 50 connections were only in cycles"


async def test_an_idle_connection_keeps_nothing_of_its_last_request() -> None:
    """Thousands of them wait for their next request; header fields, the credential among them, are gone."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async with listening(app) as server:
        client = await server.connect()
        await client.send(b"GET / HTTP/1.1\r\nAPI-Key: k\r\n\r\n")
        await client.answer()
        async with asyncio.timeout(5):
            while server.state.tasks:
                await asyncio.sleep(0)
        assert server.state.connections
        holders = sys.getrefcount(scopes[0])
        assert holders == 2, "more than the list and the call hold it"
