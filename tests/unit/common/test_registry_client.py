"""The registry's client: what it sends where, and what it makes of every kind of answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import FileRef, Version

MODEL, MANIFEST = b"model bytes", b"manifest bytes"
STORE = "https://bucket.example/blobs/"
VERSION = Version(
    "m", 1,
    Manifest(
        Format.ONNX, "model.onnx", Task.TENSOR, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
    ),
    [], "2026-01-01T00:00:00Z",
)  # fmt: skip


def target(path: str, data: bytes, url: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "url": url, **more}


def client(answer: Callable[[httpx.Request], httpx.Response], token_file: Path | None = None) -> RegistryClient:
    return RegistryClient("http://registry.example", token_file, transport=httpx.MockTransport(answer))


@pytest.fixture
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "read"
    path.write_text("secret\n")
    return path


def serving(blobs: dict[str, httpx.Response], *targets: dict[str, Any]) -> Callable[[httpx.Request], httpx.Response]:
    """A registry with one version, whose files are ``blobs`` by the last part of their URL."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models/m/versions/1/files":
            return httpx.Response(200, json={"files": targets})
        return blobs[request.url.path.rpartition("/")[2]]

    return answer


async def test_a_version_is_fetched_with_all_its_files(tmp_path: Path) -> None:
    """The folder holds every file at its path, and nothing else is left beside it."""
    answer = serving(
        {"a": httpx.Response(200, content=MANIFEST), "b": httpx.Response(200, content=MODEL)},
        target("model.yaml", MANIFEST, STORE + "a"),
        target("deep/model.onnx", MODEL, STORE + "b"),
    )
    async with client(answer) as registry:
        await registry.fetch(VERSION, tmp_path / "m")
    assert (tmp_path / "m" / "model.yaml").read_bytes() == MANIFEST
    assert (tmp_path / "m" / "deep" / "model.onnx").read_bytes() == MODEL
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


@pytest.mark.parametrize("received", [b"Model bytes", MODEL[:-1], MODEL + b"!"])
async def test_a_file_with_another_digest_is_not_accepted(tmp_path: Path, received: bytes) -> None:
    """Changed, cut or lengthened bytes: ``corrupt-download`` names the file, and no folder appears."""
    answer = serving({"a": httpx.Response(200, content=received)}, target("model.onnx", MODEL, STORE + "a"))
    async with client(answer) as registry:
        with pytest.raises(PenstockError, match=r"model\.onnx") as refused:
            await registry.fetch(VERSION, tmp_path / "m")
    assert refused.value.code == "corrupt-download"
    assert list(tmp_path.iterdir()) == []


async def test_a_download_that_fails_halfway_leaves_nothing(tmp_path: Path) -> None:
    """The first file arrived, the second is refused: neither the folder nor a part of it remains."""
    answer = serving(
        {"a": httpx.Response(200, content=MANIFEST), "b": httpx.Response(403, text="expired")},
        target("model.yaml", MANIFEST, STORE + "a"),
        target("model.onnx", MODEL, STORE + "b"),
    )
    async with client(answer) as registry:
        with pytest.raises(PenstockError):
            await registry.fetch(VERSION, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_another_process_fetched_first_is_kept(tmp_path: Path) -> None:
    """A folder that appears during the download stays as it is, and the fetch succeeds."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "bucket.example":
            (tmp_path / "m").mkdir()
            (tmp_path / "m" / "theirs").touch()
            return httpx.Response(200, content=MODEL)
        return httpx.Response(200, json={"files": [target("model.onnx", MODEL, STORE + "a")]})

    async with client(answer) as registry:
        await registry.fetch(VERSION, tmp_path / "m")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["m", "m/theirs"]


def with_files(*files: tuple[str, bytes]) -> Version:
    refs = [FileRef(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files]
    return msgspec.structs.replace(VERSION, files=refs)


async def test_a_folder_that_holds_the_version_is_not_fetched_again(tmp_path: Path) -> None:
    """Nothing is asked of the registry."""
    (tmp_path / "model.onnx").write_bytes(MODEL)
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(500)

    async with client(answer) as registry:
        await registry.fetch(with_files(("model.onnx", MODEL)), tmp_path)
    assert requests == []


@pytest.mark.parametrize("found", [None, b"", b"other bytes", MODEL[:-1] + b"!"])
async def test_a_folder_that_holds_something_else_is_fetched_again(tmp_path: Path, found: bytes | None) -> None:
    """Files of another version of that name, or damaged ones, are not served."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.yaml").write_bytes(MANIFEST)
    if found is not None:
        (tmp_path / "m" / "model.onnx").write_bytes(found)
    answer = serving(
        {"a": httpx.Response(200, content=MANIFEST), "b": httpx.Response(200, content=MODEL)},
        target("model.yaml", MANIFEST, STORE + "a"),
        target("model.onnx", MODEL, STORE + "b"),
    )
    async with client(answer) as registry:
        await registry.fetch(with_files(("model.yaml", MANIFEST), ("model.onnx", MODEL)), tmp_path / "m")
    assert (tmp_path / "m" / "model.onnx").read_bytes() == MODEL


async def test_only_the_registry_gets_the_token(tmp_path: Path, token_file: Path) -> None:
    """A path of the registry is called with the token; a presigned URL, also after a redirect, without it."""
    authorizations: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        authorizations[str(request.url)] = request.headers.get("authorization")
        if request.url.path.endswith("/files"):
            targets = [target("a", MODEL, "/v1/blobs/a"), target("b", MODEL, STORE + "b")]
            return httpx.Response(200, json={"files": targets})
        if request.url.path == "/blobs/b":
            return httpx.Response(307, headers={"Location": "https://elsewhere.example/b"})
        return httpx.Response(200, content=MODEL)

    async with client(answer, token_file) as registry:
        await registry.fetch(VERSION, tmp_path / "m")
    assert authorizations == {
        "http://registry.example/v1/models/m/versions/1/files": "Bearer secret",
        "http://registry.example/v1/blobs/a": "Bearer secret",
        "https://bucket.example/blobs/b": None,
        "https://elsewhere.example/b": None,
    }


async def test_a_token_is_replaced_while_the_client_runs(token_file: Path) -> None:
    """The next call has the new token; of several in the file it is the first."""
    authorizations: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        authorizations.append(request.headers.get("authorization"))
        return httpx.Response(200, json=[])

    async with client(answer, token_file) as registry:
        await registry.models()
        token_file.write_text("new\nsecret\n")
        await registry.models()
    assert authorizations == ["Bearer secret", "Bearer new"]


@pytest.mark.parametrize("content", [None, "\n"])
async def test_a_file_without_a_token_is_named(token_file: Path, content: str | None) -> None:
    """The call is not sent; the error names the file, and the call works once the file has a token."""
    token_file.unlink()
    if content is not None:
        token_file.write_text(content)
    async with client(lambda _: httpx.Response(200, json=[]), token_file) as registry:
        with pytest.raises(PenstockError, match=str(token_file)) as refused:
            await registry.models()
        assert refused.value.code == "no-registry-token"
        token_file.write_text("secret")
        assert await registry.models() == []


async def test_only_files_that_the_store_lacks_are_uploaded(tmp_path: Path, token_file: Path) -> None:
    """The upload carries the target's own headers but not the token; the version is registered with all files."""
    (tmp_path / "model.onnx").write_bytes(MODEL)
    (tmp_path / "model.yaml").write_bytes(MANIFEST)
    uploads: list[httpx.Request] = []
    registered: list[httpx.Request] = []
    sent: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "bucket.example":
            uploads.append(request)
            return httpx.Response(200)
        if request.url.path.endswith("/uploads"):
            missing = target("model.onnx", MODEL, STORE + "a", headers={"x-store": "1"})
            return httpx.Response(200, json={"files": [missing, target("model.yaml", MANIFEST, "", present=True)]})
        registered.append(request)
        return httpx.Response(409, json={"code": "stop", "detail": "This test ends here."})

    async with client(answer, token_file) as registry:
        with pytest.raises(PenstockError, match="ends here"):
            await registry.publish("m", tmp_path, metrics={}, lineage={}, on_progress=sent.append)
    (upload,) = uploads
    assert (upload.method, upload.content, upload.headers["x-store"]) == ("PUT", MODEL, "1")
    assert upload.headers["content-length"] == str(len(MODEL))
    assert "authorization" not in upload.headers
    assert sent == [len(MODEL)]
    assert b'"model.onnx"' in registered[0].content and b'"model.yaml"' in registered[0].content


async def test_an_empty_folder_is_not_published(tmp_path: Path) -> None:
    """422 names the folder before anything is sent."""
    async with client(lambda _: httpx.Response(500)) as registry:
        with pytest.raises(PenstockError, match=str(tmp_path)) as refused:
            await registry.publish("m", tmp_path, metrics={}, lineage={})
    assert (refused.value.status, refused.value.code) == (422, "bad-artifact")


async def test_a_refusal_of_the_registry_is_raised_as_its_own() -> None:
    """Status, code and detail of the problem document become those of the error."""
    problem = {"code": "alias-moved", "detail": "It points at 3.", "status": 412}
    async with client(lambda _: httpx.Response(412, json=problem)) as registry:
        with pytest.raises(PenstockError, match=r"It points at 3\.") as refused:
            await registry.set_alias("m", "production", [], expect=2)
    assert (refused.value.status, refused.value.code) == (412, "alias-moved")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="bad gateway"),
        httpx.Response(404, json={"message": "not a problem document"}),
        httpx.Response(404, json=["neither"]),
        httpx.Response(200, text="<html>a login page</html>"),
        httpx.Response(200, json={"some": "other service"}),
    ],
)
async def test_an_answer_that_is_not_a_registrys_counts_as_unreachable(answer: httpx.Response) -> None:
    """A proxy's or another service's answer becomes 503 with the host to check."""
    async with client(lambda _: answer) as registry:
        with pytest.raises(PenstockError, match=r"registry\.example") as refused:
            await registry.model("m")
    assert (refused.value.status, refused.value.code) == (503, "registry-unreachable")


async def test_a_broken_connection_is_named_by_its_server(tmp_path: Path) -> None:
    """503 names the registry's URL; for the object store only the host, as its URL is a credential."""

    def refused(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/files"):
            url = "https://bucket.example/blobs/a?signature=abc"
            return httpx.Response(200, json={"files": [target("model.onnx", MODEL, url)]})
        raise httpx.ConnectError("no route", request=request)

    async with client(refused) as registry:
        with pytest.raises(PenstockError) as no_registry:
            await registry.models()
        with pytest.raises(PenstockError) as no_store:
            await registry.fetch(VERSION, tmp_path / "m")
    assert (no_registry.value.status, no_registry.value.code) == (503, "registry-unreachable")
    assert no_registry.value.detail == "The registry at http://registry.example cannot be reached: ConnectError."
    assert no_store.value.detail == "The object store at bucket.example cannot be reached: ConnectError."
