"""What must hold while requests keep coming."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
import time
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
from tests.installation import Installation, free_ports
from tests.integration.load import (
    TEXTS,
    Load,
    async_client,
    equals,
    healthy,
    served_by,
    serves_more_than,
    until,
    worker,
)

pytestmark = pytest.mark.integration


async def test_a_killed_worker_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """SIGKILL of a worker under load: every request is answered, and the restarted worker takes its share again."""
    async with async_client(installation, unlimited_key) as client:
        load = Load(client)
        async with load.running():
            await load.answered(200)
            worker(installation, 0).kill()
            await load.answered(400)
            await asyncio.to_thread(installation.up)  # starts again what died
            await until(lambda: serves_more_than(installation, 0, 20))
            await load.answered(100)
    assert set(load.statuses) == {200}, load.statuses


async def test_a_leaving_worker_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """SIGTERM under load: the worker answers what it has, Envoy looks away, the process ends by itself, nothing is lost."""
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


async def test_a_worker_that_stalls_costs_no_request(installation: Installation, tmp_path: Path) -> None:
    """The only worker stands still until it has failed Envoy's checks: all is answered once it goes on."""
    shutil.copytree(installation.home / "store", tmp_path / "store")  # trained already
    alone = Installation(tmp_path, workers=1)
    try:
        alone.up()
        stalled = worker(alone, 0)
        async with async_client(alone, alone.unlimited_key()) as client:
            load = Load(client)
            async with load.running():
                await load.answered(100)
                stalled.suspend()
                await until(lambda: equals(healthy(alone), 0))
                stalled.resume()
                await load.answered(100)
                await until(lambda: equals(healthy(alone), 1))
        assert set(load.statuses) == {200}, load.statuses
    finally:
        alone.down()


async def test_a_worker_that_lacks_the_model_costs_no_request(installation: Installation, unlimited_key: str) -> None:
    """It refuses at once, Envoy asks the other worker and does not take this one out of rotation for its other models."""
    address = f"127.0.0.1:{installation.environment['PENSTOCK_WORKER_PORT']}"
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


async def test_a_leaving_gateway_finishes_and_sends_its_clients_away(
    installation: Installation, tmp_path: Path
) -> None:
    """SIGTERM: readiness says no at once, answers carry ``Connection: close``, no request is cut off, the status is 0."""
    (port,) = free_ports(1)
    environment = installation.environment | {
        "PENSTOCK_GATEWAY_PORT": str(port),
        "PENSTOCK_GATEWAY_UPSTREAM": installation.envoy_address,
        "PENSTOCK_GATEWAY_REGISTRY_URL": installation.registry_url,
        "PENSTOCK_GATEWAY_REGISTRY_TOKEN": installation.registry_token,
        "PENSTOCK_GATEWAY_KEYS_URL": str(installation.home / "keys.db"),
        "PENSTOCK_GATEWAY_DRAIN_SECONDS": "2",
    }
    url = f"http://127.0.0.1:{port}"
    closing = 0
    with subprocess.Popen([sys.executable, "-m", "penstock_gateway"], env=environment) as gateway:
        async with httpx.AsyncClient(base_url=url, headers={"API-Key": installation.key}) as client:

            async def status(path: str) -> int:
                try:
                    return (await client.get(path)).status_code
                except httpx.HTTPError:
                    return 0

            async def ready() -> bool:
                return await status("/readyz") == 200

            await until(ready)
            left = time.monotonic()
            gateway.terminate()
            await until(lambda: equals(status("/readyz"), 503))
            while gateway.poll() is None:
                try:
                    answer = await client.post("/v1/models/spam/predict", json={"text": TEXTS[0]})
                except httpx.HTTPError:
                    # It has closed its listener, as it may once the balancers have had their time to look away.
                    assert time.monotonic() - left > 2
                    continue
                assert answer.status_code in (200, 429), answer.text
                assert answer.headers["connection"] == "close"
                closing += 1
        assert gateway.wait(30) == 0
    assert closing > 5


async def test_a_promotion_costs_no_request(installation: Installation, unlimited_key: str, tmp_path: Path) -> None:
    """A new version promoted and rolled back under load: no error, and each answer names the version it came from."""
    async with RegistryClient(installation.registry_url, installation.registry_token) as registry:
        model = await registry.model("spam")
        await registry.fetch(model.versions[1], tmp_path / "spam")
    await asyncio.to_thread(installation.penstock, "push", "spam", str(tmp_path / "spam"))
    async with async_client(installation, unlimited_key) as client:
        load = Load(client)
        async with load.running():
            await load.answered(100)
            await asyncio.to_thread(installation.penstock, "promote", "spam", "2")
            await until(lambda: load.versions["2"] > 50)
            await asyncio.to_thread(installation.penstock, "rollback", "spam")
            before = load.versions["1"]
            await until(lambda: load.versions["1"] > before + 50)
    assert set(load.statuses) == {200}, load.statuses
    assert set(load.versions) == {"1", "2"}


async def test_a_thousand_mixed_requests_each_get_their_own_answer(
    installation: Installation, unlimited_key: str, tmp_path: Path
) -> None:
    """Valid, invalid and abandoned requests at once: each valid one gets what the model itself says of its text."""
    async with RegistryClient(installation.registry_url, installation.registry_token) as registry:
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

    kinds = random.choices([valid, rows, invalid, abandoned], weights=[60, 10, 20, 10], k=1000)
    async with async_client(installation, unlimited_key) as client:
        results = await asyncio.gather(*[kind(client) for kind in kinds], return_exceptions=True)
    failures = [r for r in results if r is not None]
    assert not failures, failures[:3]


def spam_probabilities(folder: Path, texts: list[str]) -> list[float]:
    """The model run directly, one text at a time."""
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
