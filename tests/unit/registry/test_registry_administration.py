"""fsck, repair, quarantine and deletion over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.registry.running import administered, running

MANIFEST = b"""
format: onnx
file: model.onnx
task: regression
inputs: [{name: x, kind: number, datatype: FP32}]
outputs: [{name: y, datatype: FP32}]
"""


def file(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def client(store: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(administered(store)) as c:
        yield c


async def publish(client: httpx.AsyncClient, model: str = "m", data: bytes = b"model") -> httpx.Response:
    for content in (MANIFEST, data):
        await client.put(f"/v1/blobs/sha256/{hashlib.sha256(content).hexdigest()}", content=content)
    files = [file("model.yaml", MANIFEST), file("model.onnx", data)]
    return await client.post(f"/v1/models/{model}/versions", json={"files": files})


async def promote(client: httpx.AsyncClient, version: int, alias: str = "production") -> httpx.Response:
    return await client.put(f"/v1/models/m/aliases/{alias}", json={"targets": [{"version": version}]})


async def problems(client: httpx.AsyncClient, **params: Any) -> list[dict[str, str]]:
    answer = await client.get("/v1/fsck", params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, str]] = answer.json()["problems"]
    return found


def entry(store: Path, number: int) -> Path:
    return store / "models" / "m" / "log" / f"{number:08d}.json"


async def test_a_whole_store_has_no_problems(client: httpx.AsyncClient) -> None:
    """The report says what was looked at."""
    await publish(client)
    await publish(client, "other")
    report = (await client.get("/v1/fsck", params={"deep": True})).json()
    assert report["problems"] == []
    assert (report["models"], report["entries"], report["blobs"]) == (2, 2, 2)


async def test_a_lost_entry_is_reported_and_given_up(store: Path, client: httpx.AsyncClient) -> None:
    """fsck names entry and remedy; changes are 409 until the repair; other models are not concerned."""
    await publish(client)
    await publish(client)
    await publish(client, "other")
    entry(store, 2).write_bytes(b"")
    async with running(administered(store)) as anew:
        (problem,) = await problems(anew)
        assert (problem["model"], problem["what"]) == ("m", "entry 2")
        assert "penstock registry repair m" in problem["remedy"]
        refused = await publish(anew)
        assert (refused.status_code, refused.json()["code"]) == (409, "model-damaged")
        assert (await publish(anew, "other")).status_code == 201
        metrics = (await anew.get("/metrics")).text
        assert "penstock_registry_damaged_models 1.0" in metrics
        repaired = await anew.post("/v1/models/m/repair", json={"why": "no backup"})
        assert repaired.status_code == 200 and "damage" not in repaired.json()
        assert await problems(anew) == []
        assert (await publish(anew)).json()["version"] == 3
        again = await anew.post("/v1/models/m/repair", json={})
        assert (again.status_code, again.json()["code"]) == (409, "not-damaged")


async def test_a_loss_behind_the_checkpoint_is_reported(store: Path, client: httpx.AsyncClient) -> None:
    """The state is whole, but the audit trail is not."""
    for _ in range(21):
        await publish(client)
    entry(store, 3).unlink()
    (problem,) = await problems(client)
    assert (problem["what"], problem["problem"]) == ("entry 3", "it is missing")
    assert (await publish(client)).status_code == 201


async def test_a_checkpoint_that_says_something_else_is_reported(store: Path, client: httpx.AsyncClient) -> None:
    """It is compared with the log."""
    for _ in range(21):
        await publish(client)
    checkpoint = store / "models" / "m" / "state.json"
    checkpoint.write_bytes(checkpoint.read_bytes().replace(b'"last_version":20', b'"last_version":25'))
    (problem,) = await problems(client)
    assert (problem["what"], problem["problem"]) == ("state.json", "it differs from what the log says")
    checkpoint.write_bytes(b"")
    (problem,) = await problems(client)
    assert "cannot be read" in problem["problem"]


@pytest.mark.parametrize("damage", ["missing", "short", "flipped"])
async def test_a_bad_blob_is_reported(store: Path, client: httpx.AsyncClient, damage: str) -> None:
    """A flipped byte only if all bytes are read; pushing the files again heals it."""
    await publish(client)
    path = store / "blobs" / "sha256" / hashlib.sha256(b"model").hexdigest()
    match damage:
        case "missing":
            path.unlink()
        case "short":
            path.write_bytes(b"mod")
        case "flipped":
            path.write_bytes(b"mOdel")
            assert await problems(client) == []
    (problem,) = await problems(client, deep=True)
    assert (problem["model"], problem["what"]) == ("m", "version 1")
    assert problem["problem"].startswith("model.onnx:")
    assert (await publish(client)).status_code == 201
    assert await problems(client, deep=True) == []


async def test_a_quarantined_version_is_taken_from_everybody(client: httpx.AsyncClient) -> None:
    """It is out of every alias and listing at once, and its number is not given again."""
    for _ in range(2):
        await publish(client)
    await promote(client, 2)
    await promote(client, 1, "stable")
    answer = await client.post("/v1/models/m/versions/2/quarantine", json={"by": "ops", "why": "wrong answers"})
    assert answer.status_code == 200
    assert (list(answer.json()["versions"]), list(answer.json()["aliases"])) == (["1"], ["stable"])
    assert (await client.get("/v1/models/m/versions/2")).status_code == 404
    assert (await publish(client)).json()["version"] == 3
    assert (await client.get("/v1/models/m/log")).json()[-2]["why"] == "wrong answers"


async def test_a_model_is_deleted(client: httpx.AsyncClient) -> None:
    """409 while it has aliases; afterwards it is gone, and a new version continues the numbers."""
    await publish(client)
    await promote(client, 1)
    refused = await client.delete("/v1/models/m")
    assert (refused.status_code, refused.json()["code"]) == (409, "model-in-use")
    await client.delete("/v1/models/m/aliases/production")
    assert (await client.request("DELETE", "/v1/models/m", json={})).status_code == 200
    assert (await client.get("/v1/models/m")).status_code == 404
    assert (await client.get("/v1/watch")).json()["models"] == []
    assert [e["kind"] for e in (await client.get("/v1/models/m/log")).json()][-1] == "deleted"
    assert (await publish(client)).json()["version"] == 2


async def test_a_damaged_model_can_be_deleted(store: Path, client: httpx.AsyncClient) -> None:
    """Its aliases cannot be deleted before, and need not be."""
    await publish(client)
    await promote(client, 1)
    await publish(client)
    entry(store, 3).write_bytes(b"")
    async with running(administered(store)) as anew:
        assert (await anew.request("DELETE", "/v1/models/m", json={})).status_code == 200
        assert await problems(anew) == []
        assert (await publish(anew)).json()["version"] == 3
