"""Where the microseconds of a small prediction go inside the gateway: its whole way, and each step alone.

    python -m benchmarks.request_cost

Everything but the network, Envoy and the pods: bytes go into the front door's protocol, and the answer's bytes
come out of it. The model answers at once. 32 connections send at the same time, so that 32 rows share one
message. The baseline of the same run is the raw ASGI application of ``make bench`` under uvicorn's own protocol.
Times are CPU time, the least of many rounds.
"""

from __future__ import annotations

import asyncio
import gc
import time
import timeit
from collections.abc import Callable, Sequence
from typing import Any, cast

import httptools
import numpy as np
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.raw_asgi import Application
from benchmarks.spam_model import Answer
from penstock_common.contract import inference_pb2 as pb
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import Version
from penstock_gateway.__main__ import open_door
from penstock_gateway.auth.key_record import KeyRecord, new_key
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.bundle import BundleFormat
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.open_streams import OpenStreams
from penstock_gateway.dataplane.pod_version import PodVersion
from penstock_gateway.edge.access_log import AccessLog
from penstock_gateway.edge.body_budget import BodyBudget
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.dispatcher import Dispatcher
from penstock_gateway.edge.endpoint import SECONDS, Endpoint, Guard
from penstock_gateway.edge.health import Health
from penstock_gateway.edge.http_cycle import Cycle
from penstock_gateway.edge.http_protocol import FrontDoorProtocol
from penstock_gateway.edge.problem import REQUESTS
from penstock_gateway.limits.admission import Usage
from penstock_gateway.limits.local import LocalAdmission
from penstock_gateway.limits.token_bucket import TokenBuckets
from penstock_gateway.protocols.predict import Predict
from penstock_gateway.settings import GatewaySettings
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

CONNECTIONS = 32
ROUNDS = 60
REQUESTS_A_ROUND = 640

BODY = b'{"text":"Congratulations, you have won a free prize! Call now to claim"}'
MANIFEST = Manifest(
    Format.ONNX,
    "m.onnx",
    Task.CLASSIFICATION,
    [Field("text", FieldKind.TEXT, "BYTES", max_length=5000)],
    [Output("probabilities", "FP32", [2])],
    labels=["ham", "spam"],
)


class Keys:
    """A store with one key."""

    def __init__(self, record: KeyRecord) -> None:
        self._record = record

    def read(self) -> list[KeyRecord]:
        return [self._record]


class Transport:
    """Counts what is written."""

    def __init__(self) -> None:
        self.written = 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1234), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def write(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1") and not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"A request failed: {data[:1000]!r}")
        self.written += b"HTTP/1.1 200" in data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Instant:
    """A model that answers at once, for the raw application."""

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        return [Answer(prediction="spam", confidence=0.75, probabilities={"ham": 0.25, "spam": 0.75}) for _ in texts]


class OneVersion:
    """A catalog with one version."""

    def __init__(self, version: PodVersion) -> None:
        self._version = version

    def resolve(self, name: str, version: str = "", models: object = None) -> PodVersion:
        return self._version


class Gateway:
    """The gateway's rooms from the front door to the message for the pods."""

    def __init__(self) -> None:
        settings = GatewaySettings(keys_url="unused")
        record, self.key = new_key("benchmark", rate=1e9, burst=1e9)
        self.keys = KeyRing(cast(Any, Keys(record)))
        self.keys.load()
        self.admission = LocalAdmission(TokenBuckets(1e9, 1e9))
        self.format = BundleFormat("spam", 1, MANIFEST)
        disconnects = DisconnectWatch()
        guard = Guard(
            authenticator=self.keys,
            admission=self.admission,
            health=Health(),
            disconnects=disconnects,
            bodies=BodyBudget(settings.max_bodies_bytes, settings.max_bodies_bytes_per_key, 256),
            timeout_seconds=settings.timeout_seconds,
            body_seconds=settings.body_seconds,
            max_body_bytes=settings.max_body_bytes,
            access_log=AccessLog(log_all=False, refusals=10),
        )
        coalescer: Coalescer[Rows, RawOutputs] = Coalescer(self.send, blames_item=lambda _: False)

        async def ready() -> bool:
            return True

        version = PodVersion(Version("spam", 1, MANIFEST, [], "now"), coalescer, ready, cast(Any, None))
        dataplane = DataPlane(cast(Catalog, OneVersion(version)), disconnects, OpenStreams(1, 1))
        self.app = Dispatcher(cast(Any, None))
        self.app.add({"/v1/models/{model}/predict": Endpoint("predict", guard, Predict(dataplane, "spam"))})
        self.door = open_door(settings)

    async def send(self, bundle: Sequence[Rows], deadline: float) -> list[RawOutputs]:
        """The message to the pods and back, without the way."""
        counts = [rows.count for rows in bundle]
        total = sum(counts)
        self.format.merge(bundle, total)
        await asyncio.sleep(0)
        return self.format.split(_response(total), counts, total)

    def request(self) -> bytes:
        head = (
            b"POST /v1/models/spam/predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\n"
            b"API-Key: %b\r\nContent-Length: %d\r\n\r\n"
        )
        return head % (self.key.encode(), len(BODY)) + BODY


def _response(total: int) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse()
    response.outputs.add(name="probabilities", datatype="FP32", shape=[total, 2])
    response.raw_output_contents.append(np.tile(np.array([0.25, 0.75], np.float32), total).tobytes())
    return response


def _config(app: Any) -> uvicorn.Config:
    config = uvicorn.Config(app, http="httptools", ws="none", log_config=None, server_header=False, date_header=False)
    config.load()
    return config


async def whole(connections: list[tuple[Any, Transport]], request: bytes) -> float:
    """CPU microseconds of a request, all its way."""

    async def round_of(requests: int) -> None:
        for _ in range(requests // len(connections)):
            wanted = [transport.written + 1 for _, transport in connections]
            for protocol, _ in connections:
                protocol.data_received(request)
            while any(t.written < n for (_, t), n in zip(connections, wanted, strict=True)):
                await asyncio.sleep(0)

    await round_of(REQUESTS_A_ROUND)
    least = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        await round_of(REQUESTS_A_ROUND)
        least = min(least, time.process_time() - started)
    return least / REQUESTS_A_ROUND * 1e6


def _connected(protocol: Any) -> tuple[Any, Transport]:
    transport = Transport()
    protocol.connection_made(transport)
    return protocol, transport


def alone(step: Callable[[], object]) -> float:
    """CPU microseconds of one call, the least of several rounds."""
    return min(timeit.repeat(step, timer=time.process_time, number=5000, repeat=15)) / 5000 * 1e6


async def alone_async(step: Callable[[], Any]) -> float:
    least = float("inf")
    for _ in range(15):
        started = time.process_time()
        for _ in range(2000):
            await step()
        least = min(least, time.process_time() - started)
    return least / 2000 * 1e6


class _Silent(FrontDoorProtocol):
    """Reads and parses, and lets nobody answer."""

    def begin_request(self, keep_alive: bool) -> None: ...

    def add_body(self, piece: bytes) -> None: ...

    def end_request(self) -> None:
        self._rest()


class _Deaf:
    """What httptools calls, doing nothing."""

    def on_url(self, url: bytes) -> None: ...

    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_body(self, body: bytes) -> None: ...


async def steps(gateway: Gateway) -> dict[str, float]:
    """CPU microseconds of a request's steps, each alone."""
    request, headers = gateway.request(), [(b"api-key", gateway.key.encode())]
    principal = gateway.keys.authenticate(headers)
    assert isinstance(principal, Principal)
    signature = Signature(MANIFEST, "spam")
    rows = signature.decoder.decode_json(BODY)
    bundle, counts = [rows] * CONNECTIONS, [1] * CONNECTIONS
    response = _response(CONNECTIONS)
    outputs = RawOutputs([np.array([0.25, 0.75], np.float32).tobytes()])
    answer = signature.presenter.present(outputs, rows, "1")
    silent, _ = _connected(_Silent(gateway.door, _config(gateway.app), ServerState(), {}))
    parser = httptools.HttpRequestParser(_Deaf())
    seconds, ok = SECONDS.labels("benchmark"), REQUESTS.labels("benchmark", "200")
    lease = gateway.admission.arrive(principal, len(BODY))
    sent = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer)), *lease.headers()]

    def limits() -> None:
        lease = gateway.admission.arrive(principal, len(BODY))
        lease.headers()
        lease.settle(Usage(rows=1))

    def metrics() -> None:
        seconds.observe(0.002)
        ok.inc()

    connection, _ = _connected(FrontDoorProtocol(gateway.door, _config(gateway.app), ServerState(), {}))

    async def write() -> None:
        cycle = Cycle(connection, {"method": "POST", "headers": headers}, True, False)
        cycle.more_body = False
        await cycle.send({"type": "http.response.start", "status": 200, "headers": sent})
        await cycle.send({"type": "http.response.body", "body": answer})

    async def nothing() -> None: ...

    async def task() -> None:
        await asyncio.create_task(nothing())

    async def coalesce() -> None:
        coalescer: Coalescer[Rows, RawOutputs] = coalescing
        futures = [coalescer.submit(rows, 1, 80, principal.id, time.monotonic() + 10) for _ in range(CONNECTIONS)]
        await asyncio.gather(*futures)

    async def echo(bundle: Sequence[Rows], deadline: float) -> list[RawOutputs]:
        return [outputs for _ in bundle]

    coalescing: Coalescer[Rows, RawOutputs] = Coalescer(echo, blames_item=lambda _: False)
    return {
        "HTTP: httptools alone": alone(lambda: parser.feed_data(request)),
        "HTTP: bounds, scope, phases (with httptools)": alone(lambda: silent.data_received(request)),
        "credential": alone(lambda: gateway.keys.authenticate(headers)),
        "rate: charge, header fields, settle": alone(limits),
        "JSON, checks, tensor": alone(lambda: signature.decoder.decode_json(BODY)),
        "coalescer, of a bundle of 32": await alone_async(coalesce) / CONNECTIONS,
        "message to the pods, merged and cut, of 32": alone(
            lambda: (gateway.format.merge(bundle, CONNECTIONS), gateway.format.split(response, counts, CONNECTIONS))
        )
        / CONNECTIONS,
        "answer as JSON": alone(lambda: signature.presenter.present(outputs, rows, "1")),
        "metrics": alone(metrics),
        "head and body written": await alone_async(write),
        "a task": await alone_async(task),
    }


async def main() -> None:
    gc.disable()
    gateway = Gateway()
    config = _config(gateway.app)
    ours = [_connected(FrontDoorProtocol(gateway.door, config, ServerState(), {})) for _ in range(CONNECTIONS)]
    raw = _config(Application(cast(Any, Instant())))
    bound = [_connected(HttpToolsProtocol(raw, ServerState(), {})) for _ in range(CONNECTIONS)]
    baseline = await whole(bound, gateway.request())
    total = await whole(ours, gateway.request())
    print(f"{'a request, all its way':48} {total:6.2f} us   {total / baseline:5.2f} x the raw application")
    print(f"{'the same in the raw ASGI application':48} {baseline:6.2f} us")
    for name, microseconds in (await steps(gateway)).items():
        print(f"  {name:46} {microseconds:6.2f} us")


if __name__ == "__main__":
    uvloop.run(main())
