"""The registry over HTTP: uploads, commits, aliases, downloads, the watch."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from penstock_common.object_store.folder_store import FolderStore
from penstock_registry.settings import RegistrySettings
from tests.unit.registry.running import administered, running, until_ready

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
    async with running(administered(tmp_path / "store")) as c:
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
    with pytest.raises(ValidationError, match="PENSTOCK_REGISTRY_TOKENS_DIR"):
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


@pytest.mark.parametrize(
    ("format_", "inside"),
    [
        ("transformers", "config.json"),
        ("ctranslate2", "model.bin"),
        ("paddle-ocr", "recognition.onnx"),
        ("spacy", "config.cfg"),
    ],
)
async def test_the_file_that_the_manifest_names_is_among_the_files(
    client: httpx.AsyncClient, format_: str, inside: str
) -> None:
    """A file itself; of a folder of Hugging Face, CTranslate2 or spaCy, a file that each such folder has."""
    text = f"""
format: {format_}
file: model
task: tensor
inputs: [{{name: text, kind: text, datatype: BYTES}}]
outputs: [{{name: embedding, datatype: FP32, shape: [4]}}]
""".encode()
    await upload(client, text, MODEL)
    for path, status in ((f"model/{inside}", 201), ("model.json", 422), ("model", 422)):
        answer = await client.post(
            "/v1/models/m/versions", json={"files": [file("model.yaml", text), file(path, MODEL)]}
        )
        assert answer.status_code == status, answer.text
    assert f"'model/{inside}' is not among the files" in answer.json()["detail"]


async def test_a_gguf_file_is_among_the_files_itself(client: httpx.AsyncClient) -> None:
    """It is of the format transformers, and no folder."""
    text = b"""
format: transformers
file: m.gguf
task: generation
stream: true
inputs: [{name: prompt, kind: text, datatype: BYTES}]
outputs: [{name: text, datatype: BYTES}]
"""
    await upload(client, text, MODEL)
    for path, status in (("m.gguf", 201), ("m.gguf/config.json", 422)):
        answer = await client.post(
            "/v1/models/m/versions", json={"files": [file("model.yaml", text), file(path, MODEL)]}
        )
        assert answer.status_code == status, answer.text


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


@pytest.mark.parametrize("path", ["../up", "/abs", "a/../../b", "a//b", "", "a\n", "a" * 600])
async def test_a_path_outside_of_the_artifact_is_refused(client: httpx.AsyncClient, path: str) -> None:
    """A file of an artifact cannot be written outside of its folder."""
    answer = await client.post("/v1/models/m/uploads", json={"files": [file(path, b"x")]})
    assert answer.status_code == 422


async def test_a_file_is_not_a_folder_too(client: httpx.AsyncClient) -> None:
    """``m.onnx`` beside ``m.onnx/sub`` cannot be written into one folder."""
    for paths in (["m.onnx", "m.onnx/sub"], ["a/b/c", "a"]):
        answer = await client.post("/v1/models/m/uploads", json={"files": [file(path, b"x") for path in paths]})
        assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")
        assert "folder" in answer.json()["detail"]


@pytest.mark.parametrize("default", ["abc", ".nan", ".inf", "true", "[1]", "1e39"])
async def test_a_default_that_no_reader_could_use_is_refused(client: httpx.AsyncClient, default: str) -> None:
    """422 names the field, and there is no version that could stop the readers."""
    bad = MANIFEST.replace(b"datatype: FP32}]", f"datatype: FP32, required: false, default: {default}}}]".encode(), 1)
    await upload(client, bad, MODEL)
    answer = await client.post("/v1/models/m/versions", json={"files": [file("model.yaml", bad), FILES[1]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-manifest")
    assert "inputs.x.default" in answer.json()["detail"]
    assert (await client.get("/v1/watch")).json()["models"] == []


async def test_a_few_bytes_of_yaml_do_not_become_megabytes(client: httpx.AsyncClient) -> None:
    """Aliases are refused unexpanded."""
    bomb = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + MANIFEST + b"examples: [*a]\n"
    await upload(client, bomb, MODEL)
    answer = await client.post("/v1/models/m/versions", json={"files": [file("model.yaml", bomb), FILES[1]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-manifest")
    assert "aliases" in answer.json()["detail"]


async def test_a_large_manifest_is_refused(client: httpx.AsyncClient) -> None:
    """The answer names the setting."""
    large = MANIFEST + b"# " + b"x" * 300_000
    await upload(client, large, MODEL)
    answer = await client.post("/v1/models/m/versions", json={"files": [file("model.yaml", large), FILES[1]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-manifest")
    assert "PENSTOCK_REGISTRY_MAX_MANIFEST_BYTES" in answer.json()["detail"]


async def test_a_tokenizer_that_is_not_there_is_missed(client: httpx.AsyncClient) -> None:
    """Before any pod looks for it; the answer names its path."""
    inputs = b"inputs: [{name: x, kind: text, datatype: BYTES}]\npreprocess: {name: tokenizer}\n"
    bad = re.sub(rb"inputs:.*\n", inputs, MANIFEST)
    await upload(client, bad, MODEL)
    answer = await client.post("/v1/models/m/versions", json={"files": [file("model.yaml", bad), FILES[1]]})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-manifest")
    assert "'tokenizer.json' is not among the files" in answer.json()["detail"]


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


@pytest.mark.parametrize(
    "header", ["bytes=99999999-", "bytes=5-2", "rows=1-2", "bytes=0-0,2-3", "bytes=-", "bytes=0-" + "9" * 5000]
)
async def test_a_range_that_cannot_be_given_is_refused(client: httpx.AsyncClient, header: str) -> None:
    """Outside of the blob, backwards or in another unit: 416 as a problem document that repeats the header."""
    await upload(client, MODEL)
    answer = await client.get(BLOB, headers={"Range": header})
    assert (answer.status_code, answer.json()["code"]) == (416, "bad-range")
    assert header[:40] in answer.json()["detail"]


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


@pytest.mark.parametrize("name", ["UPPER", "a b", "-a", "a" * 64, "a%0A"])
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
        ("GET", "/v1/models/spam", 404, "unknown-model"),
        ("GET", "/v1/models/spam/log", 404, "unknown-model"),
        ("GET", "/v1/watch?wait=long", 422, "bad-request"),
        ("GET", "/v1/watch?wait=nan", 422, "bad-request"),
        ("GET", "/v1/watch?wait=-inf", 422, "bad-request"),
        ("GET", "/v1/watch?wait=" + "9" * 5000, 422, "bad-request"),
        ("GET", "/v1/fsck?deep=perhaps", 422, "bad-request"),
        ("GET", "/v1/models/m/versions/" + "9" * 5000, 404, "unknown-version"),
        ("GET", "/v1/models/m/versions/%D9%A3", 404, "unknown-version"),
        ("GET", f"{BLOB}%0A", 422, "bad-digest"),
        ("PUT", f"{BLOB}%0A", 422, "bad-digest"),
    ],
)
async def test_a_call_that_no_route_takes_is_refused_with_a_problem_document(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    """A wrong path, method or parameter has a status and code of its own."""
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("header", ["9" * 5000, "three", "-1", "1.5", "\u0663"])
async def test_an_if_match_that_is_not_a_version_is_refused(client: httpx.AsyncClient, header: str) -> None:
    """400, whatever its length."""
    answer = await client.put(
        "/v1/models/m/aliases/a",
        json={"targets": [{"version": 1}]},
        headers={"If-Match": header.encode()},  # type: ignore[dict-item]
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-if-match")


@pytest.mark.parametrize("digest", ["0" * 64 + "\n", "A" * 64, "0" * 63])
async def test_a_digest_is_64_digits(client: httpx.AsyncClient, digest: str) -> None:
    """A file that names its blob in another way is refused with its place."""
    answer = await client.post("/v1/models/m/uploads", json={"files": [{"path": "a", "size": 1, "sha256": digest}]})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad-request")
    assert "sha256" in answer.json()["detail"]


@pytest.mark.parametrize("lineage", ['{"a": ' * 5000 + "1" + "}" * 5000, '{"a": 1e999}', '{"a": NaN}'])
async def test_lineage_is_plain_json(client: httpx.AsyncClient, lineage: str) -> None:
    """Depth and numbers that do not read back are refused, not a defect."""
    await upload(client, MANIFEST, MODEL)
    body = f'{{"files": {json.dumps(FILES)}, "lineage": {lineage}}}'
    answer = await client.post("/v1/models/m/versions", content=body)
    assert answer.status_code in (400, 422), answer.text


async def test_a_registry_that_starts_does_not_answer_with_an_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that starts says 503 ``registry-starting`` and not that there are no models."""
    settings = administered(tmp_path / "store")
    async with running(settings) as client:
        await registered(client)
    held = asyncio.Event()
    list_folders = FolderStore.list_folders

    async def slow(store: FolderStore, folder: str) -> list[str]:
        await held.wait()
        return await list_folders(store, folder)

    monkeypatch.setattr(FolderStore, "list_folders", slow)
    async with running(settings, ready=False) as client:
        for path in ("/v1/watch", "/v1/models"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "registry-starting")
            assert answer.headers["retry-after"] == "1"
        assert (await client.get("/readyz")).status_code == 503
        held.set()
        await until_ready(client)
        assert [m["name"] for m in (await client.get("/v1/models")).json()] == ["m"]


async def test_a_full_disk_is_named(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads are 507 and readiness says why; what is stored can still be read, and small things be written."""
    await registered(client)
    monkeypatch.setattr(FolderStore, "free_bytes", lambda _: 1_000_000)
    answer = await client.put(BLOB, content=MODEL)
    assert (answer.status_code, answer.json()["code"]) == (507, "disk-full")
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["components"]["store"]) == (200, "disk-full")
    assert (await client.get(BLOB)).content == MODEL
    promoted = await client.put("/v1/models/m/aliases/production", json={"targets": [{"version": 1}]})
    assert promoted.status_code == 200


async def test_a_change_that_is_seen_by_a_read_wakes_the_watch(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Whoever notices another replica's entry first, the long polls answer."""
    await registered(client)
    cursor = (await client.get("/v1/watch")).json()["cursor"]
    waiting = asyncio.create_task(client.get("/v1/watch", params={"cursor": cursor, "wait": 60}))
    async with running(administered(tmp_path / "store")) as other:
        await registered(other)
    assert len((await client.get("/v1/models/m")).json()["versions"]) == 2
    snapshot = (await asyncio.wait_for(waiting, 20)).json()
    assert len(snapshot["models"][0]["versions"]) == 2
