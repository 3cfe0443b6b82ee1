"""The registry over HTTP: uploads, commits, aliases, downloads, the watch."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from penstock_registry.app import build_app
from penstock_registry.settings import RegistrySettings

MANIFEST = b"""
format: onnx
file: model.onnx
task: regression
inputs: [{name: x, kind: number, datatype: FP32}]
outputs: [{name: y, datatype: FP32}]
"""
MODEL = bytes(range(256)) * 40


def file(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


FILES = [file("model.yaml", MANIFEST), file("model.onnx", MODEL)]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = build_app(RegistrySettings(store_url=str(tmp_path / "store"), token="secret"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://registry", headers={"Authorization": "Bearer secret"}
        ) as c,
    ):
        yield c


async def upload(client: httpx.AsyncClient, *contents: bytes) -> None:
    for data in contents:
        answer = await client.put(f"/v1/blobs/sha256/{hashlib.sha256(data).hexdigest()}", content=data)
        assert answer.status_code in (200, 201), answer.text


async def registered(client: httpx.AsyncClient) -> None:
    await upload(client, MANIFEST, MODEL)
    answer = await client.post("/v1/models/m/versions", json={"files": FILES})
    assert answer.status_code == 201, answer.text


def test_it_does_not_start_without_a_lock() -> None:
    """Neither a token nor the word that none is wanted: the settings refuse."""
    with pytest.raises(ValidationError, match="PENSTOCK_REGISTRY_TOKEN"):
        RegistrySettings(store_url="x")


async def test_a_wrong_token_is_refused(client: httpx.AsyncClient) -> None:
    """All but health and metrics need the token."""
    answer = await client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["code"]) == (401, "bad-token")
    assert (await client.get("/healthz", headers={"Authorization": ""})).status_code == 200


async def test_a_version_is_declared_uploaded_and_committed(client: httpx.AsyncClient) -> None:
    """Upload targets name what is to be sent; the commit gives version 1, whose manifest was read."""
    targets = (await client.post("/v1/models/m/uploads", json={"files": FILES})).json()["files"]
    assert [t.get("present", False) for t in targets] == [False, False]
    await registered(client)
    model = (await client.get("/v1/models/m")).json()
    assert model["versions"]["1"]["manifest"]["format"] == "onnx"
    targets = (await client.post("/v1/models/m/uploads", json={"files": FILES})).json()["files"]
    assert [t["present"] for t in targets] == [True, True]


async def test_a_commit_with_missing_or_wrong_blobs_is_refused(client: httpx.AsyncClient) -> None:
    """422 names each file that is not as declared, and no version appears."""
    await upload(client, MANIFEST)
    wrong_size = {**file("extra.bin", MANIFEST), "size": 3}
    answer = await client.post("/v1/models/m/versions", json={"files": [*FILES, wrong_size]})
    assert answer.status_code == 422
    problems = " ".join(answer.json()["problems"])
    assert "model.onnx" in problems and "extra.bin" in problems and "model.yaml:" not in problems
    assert (await client.get("/v1/models/m")).status_code == 404


async def test_a_blob_whose_bytes_were_changed_in_the_store_is_refused(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """The digest is verified over the stored bytes, not believed."""
    digest = FILES[1]["sha256"]
    await upload(client, MANIFEST)
    path = tmp_path / "store" / "blobs" / "sha256" / digest
    path.write_bytes(MODEL[:-1] + b"!")
    answer = await client.post("/v1/models/m/versions", json={"files": FILES})
    assert answer.status_code == 422
    assert "model.onnx" in answer.json()["detail"]


async def test_an_upload_with_another_digest_leaves_nothing(client: httpx.AsyncClient) -> None:
    """422, and the blob is not there."""
    digest = hashlib.sha256(b"right").hexdigest()
    answer = await client.put(f"/v1/blobs/sha256/{digest}", content=b"wrong")
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong-digest")
    assert (await client.get(f"/v1/blobs/sha256/{digest}")).status_code == 404


@pytest.mark.parametrize("path", ["../up", "/abs", "a/../../b", "a//b", ""])
async def test_a_path_out_of_the_artifact_is_refused(client: httpx.AsyncClient, path: str) -> None:
    """No file of an artifact can land outside of its folder."""
    answer = await client.post("/v1/models/m/uploads", json={"files": [file(path, b"x")]})
    assert answer.status_code == 422


async def test_a_bad_manifest_is_refused_and_explained(client: httpx.AsyncClient) -> None:
    """The answer names the place in model.yaml."""
    bad = MANIFEST.replace(b"FP32", b"FLOAT")
    await upload(client, bad, MODEL)
    answer = await client.post("/v1/models/m/versions", json={"files": [file("model.yaml", bad), FILES[1]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-manifest")
    assert "inputs.x.datatype" in answer.json()["detail"]


async def test_bytes_come_back_whole_or_in_ranges(client: httpx.AsyncClient) -> None:
    """GET gives the blob; Range gives that part, and 416 where there is none."""
    await upload(client, MODEL)
    url = f"/v1/blobs/sha256/{FILES[1]['sha256']}"
    assert (await client.get(url)).content == MODEL
    for header, expected in (("bytes=10-19", MODEL[10:20]), ("bytes=-5", MODEL[-5:]), ("bytes=10000-", MODEL[10000:])):
        answer = await client.get(url, headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, expected)
    assert (await client.get(url, headers={"Range": "bytes=99999999-"})).status_code == 416


async def test_a_promotion_with_an_expectation_fails_if_another_came_first(client: httpx.AsyncClient) -> None:
    """If-Match names the version that is to be replaced; 412 where it is another."""
    await registered(client)
    await client.post("/v1/models/m/versions", json={"files": FILES})
    url = "/v1/models/m/aliases/production"

    def to(version: int) -> dict[str, Any]:
        return {"targets": [{"version": version}]}

    assert (await client.put(url, json=to(1), headers={"If-Match": '"0"'})).status_code == 200
    assert (await client.put(url, json=to(2), headers={"If-Match": '"1"'})).status_code == 200
    late = await client.put(url, json=to(2), headers={"If-Match": '"1"'})
    assert (late.status_code, late.json()["code"]) == (412, "alias-moved")


async def test_a_version_in_use_cannot_be_retired(client: httpx.AsyncClient) -> None:
    """409 names the alias; without one it is retired and cannot be promoted."""
    await registered(client)
    url = "/v1/models/m/aliases/production"
    await client.put(url, json={"targets": [{"version": 1}]})
    assert (await client.post("/v1/models/m/versions/1/retire", json={})).status_code == 409
    await client.delete(url)
    assert (await client.post("/v1/models/m/versions/1/retire", json={})).status_code == 200
    assert (await client.put(url, json={"targets": [{"version": 1}]})).status_code == 409
    kinds = [e["kind"] for e in (await client.get("/v1/models/m/log")).json()]
    assert kinds == ["registered", "alias-set", "alias-deleted", "retired"]


async def test_a_watch_answers_when_something_changes(client: httpx.AsyncClient) -> None:
    """A long poll returns soon after a change, with the new state and cursor."""
    cursor = (await client.get("/v1/watch")).json()["cursor"]
    waiting = asyncio.create_task(client.get("/v1/watch", params={"cursor": cursor, "wait": 30}))
    await registered(client)
    snapshot = (await asyncio.wait_for(waiting, 10)).json()
    assert snapshot["cursor"] != cursor
    assert [m["name"] for m in snapshot["models"]] == ["m"]
    same = (await client.get("/v1/watch", params={"cursor": snapshot["cursor"], "wait": 0})).json()
    assert same["cursor"] == snapshot["cursor"]


@pytest.mark.parametrize("name", ["UPPER", "a b", "-a", "a" * 64])
async def test_a_bad_name_is_refused(client: httpx.AsyncClient, name: str) -> None:
    """Names end up in paths and URLs, so only plain ones pass."""
    assert (await client.get(f"/v1/models/{name}")).status_code == 422


async def test_bad_bodies_are_told_apart(client: httpx.AsyncClient) -> None:
    """Broken JSON is 400, the wrong shape 422, too much 413."""
    url = "/v1/models/m/versions"
    assert (await client.post(url, content=b"{")).status_code == 400
    assert (await client.post(url, json={"fils": []})).status_code == 422
    assert (await client.post(url, content=b" " * 1_100_000)).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown-path"),
        ("PATCH", "/v1/models/spam", 405, "bad-method"),
        ("GET", "/v1/watch?wait=long", 422, "bad-request"),
    ],
)
async def test_what_no_route_takes_is_a_problem_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """A wrong path, method or parameter is refused with a problem document."""
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
