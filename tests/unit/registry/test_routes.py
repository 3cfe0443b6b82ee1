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

from penstock_registry.settings import RegistrySettings
from tests.unit.registry.running import running

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
BLOB = f"/v1/blobs/sha256/{FILES[1]['sha256']}"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running(RegistrySettings(store_url=str(tmp_path / "store"), token="secret")) as c:
        yield c


async def upload(client: httpx.AsyncClient, *contents: bytes) -> None:
    for data in contents:
        answer = await client.put(f"/v1/blobs/sha256/{hashlib.sha256(data).hexdigest()}", content=data)
        assert answer.status_code in (200, 201), answer.text


async def registered(client: httpx.AsyncClient) -> None:
    await upload(client, MANIFEST, MODEL)
    answer = await client.post("/v1/models/m/versions", json={"files": FILES})
    assert answer.status_code == 201, answer.text


def test_it_does_not_start_without_a_token() -> None:
    """With neither a token nor permission to go without one, the settings are refused."""
    with pytest.raises(ValidationError, match="PENSTOCK_REGISTRY_TOKEN"):
        RegistrySettings(store_url="x")


async def test_a_wrong_token_is_refused(client: httpx.AsyncClient) -> None:
    """Every call but health and metrics needs the token."""
    answer = await client.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["code"]) == (401, "bad-token")
    assert (await client.get("/healthz", headers={"Authorization": ""})).status_code == 200


async def test_a_version_is_declared_uploaded_and_committed(client: httpx.AsyncClient) -> None:
    """Upload targets name what must be sent; the commit makes version 1 with the manifest of its model.yaml."""
    targets = (await client.post("/v1/models/m/uploads", json={"files": FILES})).json()["files"]
    assert [t.get("present", False) for t in targets] == [False, False]
    await registered(client)
    model = (await client.get("/v1/models/m")).json()
    assert model["versions"]["1"]["manifest"]["format"] == "onnx"
    targets = (await client.post("/v1/models/m/uploads", json={"files": FILES})).json()["files"]
    assert [t["present"] for t in targets] == [True, True]


async def test_a_commit_with_missing_or_wrong_blobs_is_refused(client: httpx.AsyncClient) -> None:
    """422 names each file that differs from its declaration, and no version appears."""
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
    """The digest is computed from the stored bytes, not taken on trust."""
    digest = FILES[1]["sha256"]
    await upload(client, MANIFEST)
    path = tmp_path / "store" / "blobs" / "sha256" / digest
    path.write_bytes(MODEL[:-1] + b"!")
    answer = await client.post("/v1/models/m/versions", json={"files": FILES})
    assert answer.status_code == 422
    assert "model.onnx" in answer.json()["detail"]


async def test_an_upload_with_another_digest_stores_nothing(client: httpx.AsyncClient) -> None:
    """422, and the blob is not there."""
    digest = hashlib.sha256(b"right").hexdigest()
    answer = await client.put(f"/v1/blobs/sha256/{digest}", content=b"wrong")
    assert (answer.status_code, answer.json()["code"]) == (422, "wrong-digest")
    assert (await client.get(f"/v1/blobs/sha256/{digest}")).status_code == 404


@pytest.mark.parametrize("path", ["../up", "/abs", "a/../../b", "a//b", ""])
async def test_a_path_outside_of_the_artifact_is_refused(client: httpx.AsyncClient, path: str) -> None:
    """A file of an artifact cannot be written outside of its folder."""
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
    """GET gives the blob with its digest as ETag; Range gives that part."""
    await upload(client, MODEL)
    whole = await client.get(BLOB)
    assert (whole.content, whole.headers["accept-ranges"]) == (MODEL, "bytes")
    assert whole.headers["etag"] == f'"{FILES[1]["sha256"]}"'
    for header, expected, content_range in (
        ("bytes=10-19", MODEL[10:20], "bytes 10-19/10240"),
        ("bytes=-5", MODEL[-5:], "bytes 10235-10239/10240"),
        ("bytes=10000-", MODEL[10000:], "bytes 10000-10239/10240"),
    ):
        answer = await client.get(BLOB, headers={"Range": header})
        assert (answer.status_code, answer.content) == (206, expected)
        assert answer.headers["content-range"] == content_range


async def test_an_interrupted_download_goes_on_only_with_the_same_bytes(client: httpx.AsyncClient) -> None:
    """If-Range with the blob's ETag gives the rest; with another ETag, all of it."""
    await upload(client, MODEL)
    etag = (await client.get(BLOB)).headers["etag"]
    rest = await client.get(BLOB, headers={"Range": "bytes=10000-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, MODEL[10000:])
    whole = await client.get(BLOB, headers={"Range": "bytes=10000-", "If-Range": '"another"'})
    assert (whole.status_code, whole.content) == (200, MODEL)


@pytest.mark.parametrize("header", ["bytes=99999999-", "bytes=5-2", "rows=1-2"])
async def test_a_range_that_cannot_be_given_is_refused(client: httpx.AsyncClient, header: str) -> None:
    """Outside of the blob, backwards or in another unit: 416 as a problem document that repeats the header."""
    await upload(client, MODEL)
    answer = await client.get(BLOB, headers={"Range": header})
    assert (answer.status_code, answer.json()["code"]) == (416, "bad-range")
    assert header in answer.json()["detail"]


async def test_a_range_outside_of_the_blob_is_refused_with_its_size(client: httpx.AsyncClient) -> None:
    """Content-Range tells the client how many bytes there are (RFC 9110, section 14.4)."""
    await upload(client, MODEL)
    answer = await client.get(BLOB, headers={"Range": "bytes=99999999-"})
    assert answer.headers["content-range"] == "bytes */10240"


async def test_a_promotion_with_an_expectation_fails_if_another_came_first(client: httpx.AsyncClient) -> None:
    """If-Match names the version to replace; if the alias points at another one, 412."""
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
    """409 while an alias points at it; afterwards it is retired and cannot be promoted."""
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
    """A long poll returns on a change, with the new state and cursor."""
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
    """Names become parts of paths and URLs, so only plain ones are accepted."""
    assert (await client.get(f"/v1/models/{name}")).status_code == 422


async def test_a_bad_body_is_refused_by_what_is_wrong_with_it(client: httpx.AsyncClient) -> None:
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
async def test_a_call_that_no_route_takes_is_refused_with_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """A wrong path, method or parameter has a status and code of its own."""
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
