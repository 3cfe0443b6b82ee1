"""Failures, shutdowns and promotions under load cost no request, and each request gets its own answer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
import pytest
import torch

from penstock_common.contract import inference_pb2 as pb
from penstock_common.contract import inference_pb2_grpc
from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_common.preprocessing.steps import preprocess
from penstock_common.registry_client import RegistryClient
from tests.flood import Flood, ask_alone
from tests.installation import Installation
from tests.integration.load import (
    TEXTS,
    Load,
    async_client,
    healthy,
    served_by,
    serves_more_than,
    until,
    worker,
)
from tests.slow_model import NAME, write_slow_model

pytestmark = pytest.mark.integration

FLOOD = 100


async def test_a_killed_worker_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """After SIGKILL of a worker, every request is answered, and the restarted worker gets requests again."""
    async with async_client(installation, unlimited_key) as client:
        load = Load(client)
        async with load.running():
            await load.answered(200)
            worker(installation, 0).kill()
            await load.answered(400)
            await asyncio.to_thread(installation.up)  # restarts the parts that have died
            await until(lambda: serves_more_than(installation, 0, 20))
            await load.answered(100)
    assert set(load.statuses) == {200}, load.statuses


async def test_a_leaving_worker_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """After SIGTERM, a worker answers what it has, Envoy stops sending to it, the process ends, and nothing is lost."""
    async with async_client(installation, unlimited_key) as client:
        load = Load(client)
        async with load.running():
            await load.answered(100)
            leaving = worker(installation, 1)
            leaving.terminate()
            await until(lambda: not leaving.is_running() or leaving.status() == psutil.STATUS_ZOMBIE)
            await load.answered(100)
            await asyncio.to_thread(installation.up)
            await until(lambda: serves_more_than(installation, 1, 20))
    assert set(load.statuses) == {200}, load.statuses


async def test_a_worker_that_stalls_costs_no_request(alone: Callable[..., Installation]) -> None:
    """If the only worker stalls until it has failed Envoy's checks, every request is answered once it continues.

    Meanwhile the protocol's readiness says no, and that of the gateway yes.
    """
    installation = alone()
    try:
        installation.up()
        stalled = worker(installation, 0)
        async with async_client(installation, installation.key) as client:
            load = Load(client)
            async with load.running():
                await load.answered(100)
                stalled.suspend()
                await until(lambda: _is(healthy(installation), 0))
                await until(lambda: _status_is(client, "/v2/health/ready", 503))
                assert (await client.get("/readyz")).status_code == 200
                stalled.resume()
                await load.answered(100)
                await until(lambda: _is(healthy(installation), 1))
                await until(lambda: _status_is(client, "/v2/health/ready", 200))
        assert set(load.statuses) == {200}, load.statuses
    finally:
        installation.down()


async def test_a_worker_that_lacks_the_model_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """It refuses at once, Envoy asks the other worker and does not take this one out of rotation for its other models."""
    address = f"unix:{installation.socket('worker-1')}"
    async with grpc.aio.insecure_channel(address) as channel, async_client(installation, unlimited_key) as client:
        pod = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        load = Load(client)
        async with load.running():
            await load.answered(100)
            await pod.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="spam"))
            await load.answered(300)
            assert await healthy(installation) == 2
            await pod.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="spam"))
            served = await served_by(installation, 0)
            await until(lambda: serves_more_than(installation, 0, served + 20))
    assert set(load.statuses) == {200}, load.statuses


async def test_a_leaving_gateway_sends_its_clients_away(installation: Installation, unlimited_key: str) -> None:
    """After SIGTERM, a gateway is not ready, and answers with ``Connection: close`` as long as it drains."""
    with installation.another_gateway(PENSTOCK_GATEWAY_DRAIN_SECONDS="3600") as gateway:
        async with httpx.AsyncClient(base_url=gateway.url, headers={"API-Key": unlimited_key}) as client:
            assert "connection" not in (await client.get("/v1/models")).headers
            gateway.process.terminate()
            await until(lambda: _status_is(client, "/readyz", 503))
            for _ in range(50):
                answer = await client.post("/v1/models/spam/predict", json={"text": TEXTS[0]})
                assert answer.status_code == 200, answer.text
                assert answer.headers["connection"] == "close"


async def test_a_leaving_gateway_finishes_what_it_has(installation: Installation, unlimited_key: str) -> None:
    """A request whose body is incomplete when the listener closes is answered in full; the gateway's status is 0."""
    body = json.dumps({"text": TEXTS[0]}).encode()
    head = f"POST /v1/models/spam/predict HTTP/1.1\r\nHost: x\r\nAPI-Key: {unlimited_key}\r\n"
    with installation.another_gateway(PENSTOCK_GATEWAY_DRAIN_SECONDS="0") as gateway:
        port = httpx.URL(gateway.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
        await writer.drain()
        # The beginning of the body has been read by the time that a later request is answered.
        async with httpx.AsyncClient(base_url=gateway.url, headers={"API-Key": unlimited_key}) as client:
            assert (await client.get("/v1/models")).status_code == 200
        gateway.process.terminate()
        # uvicorn logs this once its listener is closed and only connections are left.
        await until(lambda: "Waiting for connections to close" in gateway.log.read_text())
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        writer.write(body[5:])
        async with asyncio.timeout(30):
            answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert b"connection: close" in answer.lower()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["model"] == "spam"
        assert await asyncio.to_thread(gateway.process.wait, 30) == 0


async def _status_is(client: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await client.get(path)).status_code == status


async def _is(awaitable: Awaitable[int], value: int) -> bool:
    return await awaitable == value


async def test_a_flood_does_not_starve_a_small_tenant(
    installation: Installation, unlimited_key: str, tmp_path: Path
) -> None:
    """While another keeps a hundred requests under way, a row waits for a few of them and not for all."""
    await installation.serve(NAME, write_slow_model(tmp_path / NAME))
    flood = Flood(installation.url, await asyncio.to_thread(installation.unlimited_key), FLOOD)
    alone = await ask_alone(installation.url, unlimited_key, 20)
    async with flood.running():
        beside = await ask_alone(installation.url, unlimited_key, 20, flood)
    print(
        f"p95 {1000 * alone.p95:.0f} ms alone, {1000 * beside.p95:.0f} ms beside the flood: {beside.p95 / alone.p95:.2f}"
    )
    assert not flood.refused
    # In one line with the flood, it would wait for all hundred. Two calls are under way for each of two workers.
    assert sorted(beside.overtaken)[len(beside.overtaken) // 2] <= FLOOD // 5, beside.overtaken


async def test_a_promotion_costs_no_request(installation: Installation, unlimited_key: str, tmp_path: Path) -> None:
    """A version is promoted and rolled back under load: no request fails, and each answer names its version."""
    async with RegistryClient(installation.registry_url, installation.registry_token_file("read")) as registry:
        model = await registry.model("spam")
        await registry.fetch(model.versions[1], tmp_path / "spam")
    version = str(await installation.publish("spam", tmp_path / "spam"))
    async with async_client(installation, unlimited_key) as client:
        load = Load(client)
        async with load.running():
            await load.answered(100)
            await asyncio.to_thread(installation.penstock, "promote", "spam", version)
            await until(lambda: load.versions[version] > 50)
            await asyncio.to_thread(installation.penstock, "rollback", "spam")
            before = load.versions["1"]
            await until(lambda: load.versions["1"] > before + 50)
    assert set(load.statuses) == {200}, load.statuses
    assert set(load.versions) == {"1", version}


async def test_a_thousand_mixed_requests_each_get_their_own_answer(
    installation: Installation, unlimited_key: str, tmp_path: Path
) -> None:
    """Among invalid and abandoned requests, each valid one gets what the model itself answers for its text."""
    async with RegistryClient(installation.registry_url, installation.registry_token_file("read")) as registry:
        model = await registry.model("spam")
        await registry.fetch(model.versions[1], tmp_path / "spam")
    expected = spam_probabilities(tmp_path / "spam", TEXTS)

    async def valid(client: httpx.AsyncClient) -> None:
        i = random.randrange(len(TEXTS))
        answer = await client.post("/v1/models/spam/predict", json={"text": TEXTS[i]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["probabilities"]["spam"] == pytest.approx(expected[i], abs=1e-4)

    async def rows(client: httpx.AsyncClient) -> None:
        chosen = random.sample(range(len(TEXTS)), 5)
        answer = await client.post("/v1/models/spam/predict", json=[{"text": TEXTS[i]} for i in chosen])
        assert answer.status_code == 200, answer.text
        got = [row["probabilities"]["spam"] for row in answer.json()]
        assert got == pytest.approx([expected[i] for i in chosen], abs=1e-4)

    async def invalid(client: httpx.AsyncClient) -> None:
        body, status = random.choice(
            [(b"{", 400), (b'{"text": 1}', 422), (b'{"text": "a", "b": 2}', 422), (b"[]", 422), (b"", 400)]
        )
        answer = await client.post("/v1/models/spam/predict", content=body)
        assert answer.status_code == status, answer.text
        assert answer.json()["status"] == status

    async def abandoned(client: httpx.AsyncClient) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        body = json.dumps({"text": random.choice(TEXTS)})
        head = f"POST /v1/models/spam/predict HTTP/1.1\r\nHost: x\r\nAPI-Key: {unlimited_key}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    # As many as the client has connections. Its pool goes through all that wait for one whenever a request begins or
    # ends: with a thousand, this process would be busy with that for so long that its connections time out.
    under_way = asyncio.Semaphore(200)

    async def in_turn(request: Awaitable[None]) -> None:
        async with under_way:
            await request

    kinds = random.choices([valid, rows, invalid, abandoned], weights=[60, 10, 20, 10], k=1000)
    async with async_client(installation, unlimited_key) as client:
        results = await asyncio.gather(*[in_turn(kind(client)) for kind in kinds], return_exceptions=True)
    failures = [r for r in results if r is not None]
    assert not failures, failures[:3]


def spam_probabilities(folder: Path, texts: list[str]) -> list[float]:
    """Return what the model answers if it is run directly, one text at a time."""
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    model = torch.export.load(folder / manifest.file).module()
    probabilities = []
    for text in texts:
        rows = np.empty(1, dtype=np.object_)
        rows[0] = text.encode()
        inputs = [torch.from_numpy(a) for a in preprocess(manifest, {"text": rows})]
        with torch.inference_mode():
            probabilities.append(float(model(*inputs)[0, 1]))
    return probabilities
