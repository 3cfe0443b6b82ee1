"""A registry over S3: bytes go directly between client and store by presigned URL, and replicas agree."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock_common.errors import PenstockError
from penstock_common.object_store.bucket_store import BucketStore
from penstock_common.object_store.store_url import open_store
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import AliasTarget, LogEntry, Version
from penstock_gateway.files.contents import Contents
from penstock_registry.blob_collector import BlobCollector
from penstock_registry.model_logs import ModelLogs
from tests.installation import free_ports

pytestmark = pytest.mark.integration
MANIFEST = """
format: onnx
file: model.onnx
task: regression
inputs: [{name: x, kind: number, datatype: FP32}]
outputs: [{name: y, datatype: FP32}]
"""


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An S3 server over a folder, with a bucket; the value is the environment of a registry that uses it."""
    program = shutil.which("versitygw")
    if program is None:
        pytest.skip("needs an S3 server: put versitygw (github.com/versity/versitygw) on the PATH")
    (tmp_path / "s3" / "models").mkdir(parents=True)
    (port,) = free_ports(1)
    environment = {"ROOT_ACCESS_KEY": "access", "ROOT_SECRET_KEY": "secretsecret"}
    command = [program, "--port", f"127.0.0.1:{port}", "--access-log", str(tmp_path / "access.log")]
    command += ["posix", str(tmp_path / "s3")]
    server = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/", 403)
        yield {
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "secretsecret",
            "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


def wait_for(url: str, status: int) -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            if httpx.get(url).status_code == status:
                return
        except httpx.HTTPError:
            pass
        assert time.monotonic() < give_up, url
        time.sleep(0.05)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """The administrator's token, in a folder of tokens."""
    path = tmp_path / "tokens" / "admin"
    path.parent.mkdir()
    path.write_text("token")
    return path


@pytest.fixture
def registries(s3: dict[str, str], token_file: Path) -> Iterator[list[str]]:
    """The URLs of two registries over the same bucket."""
    ports = free_ports(2)
    running = []
    for port in ports:
        environment = {
            "PENSTOCK_REGISTRY_PORT": str(port),
            "PENSTOCK_REGISTRY_STORE_URL": "s3://models",
            "PENSTOCK_REGISTRY_TOKENS_DIR": str(token_file.parent),
        }
        running.append(subprocess.Popen([sys.executable, "-m", "penstock_registry"], env=os.environ | s3 | environment))
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    for url in urls:
        wait_for(f"{url}/readyz", 200)
    yield urls
    for process in running:
        process.terminate()
    assert [process.wait(30) for process in running] == [0, 0]


async def test_bytes_do_not_go_through_the_registry(registries: list[str], token_file: Path, tmp_path: Path) -> None:
    """Upload and download targets are the store's own URLs; the other replica delivers what was sent to the first."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.yaml").write_text(MANIFEST)
    (folder / "model.onnx").write_bytes(os.urandom(3_000_000))
    async with RegistryClient(registries[0], token_file) as one, RegistryClient(registries[1], token_file) as other:
        version = await one.publish("m", folder, metrics={}, lineage={})
        headers = {"Authorization": "Bearer token"}
        targets = httpx.get(f"{registries[0]}/v1/models/m/versions/1/files", headers=headers).json()["files"]
        assert all("X-Amz-Signature" in target["url"] for target in targets)
        await other.fetch(version, tmp_path / "fetched")
    for name in ("model.yaml", "model.onnx"):
        assert (tmp_path / "fetched" / name).read_bytes() == (folder / name).read_bytes()


async def test_writers_on_two_replicas_lose_nothing(registries: list[str], token_file: Path, tmp_path: Path) -> None:
    """Versions and aliases written through two registries at once are all in the same log, each number once."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.yaml").write_text(MANIFEST)
    (folder / "model.onnx").write_bytes(b"model")
    async with RegistryClient(registries[0], token_file) as one, RegistryClient(registries[1], token_file) as other:
        published = [client.publish("m", folder, metrics={}, lineage={}) for client in (one, other) for _ in range(6)]
        versions = await asyncio.gather(*published)
        assert sorted(v.version for v in versions) == list(range(1, 13))
        await asyncio.gather(*[c.set_alias("m", f"a{i}", [AliasTarget(i + 1)]) for i, c in enumerate((one, other) * 4)])
        log = await other.log_entries("m")
    assert len(log) == 12 + 8


@pytest.fixture
def bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> BucketStore:
    """The bucket of that server."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return BucketStore("s3://models")


async def test_a_bucket_is_a_store(bucket: BucketStore) -> None:
    """Objects are created once, replaced, listed after a key and removed, as in a folder."""
    assert await bucket.create("a/1", b"1")
    assert not await bucket.create("a/1", b"2")
    assert (await bucket.get("a/1"), await bucket.get("a/0")) == (b"1", None)
    before = await bucket.info("a/1")
    await bucket.put("a/1", b"22")
    after = await bucket.info("a/1")
    assert before is not None and after is not None
    assert (before.size, after.size) == (1, 2)
    assert before.stamp != after.stamp
    for key in ("a/2", "a/3", "a/deep/4"):
        await bucket.put(key, b"")
    assert [info.key for info in await bucket.list_objects("a", "a/1")] == ["a/2", "a/3"]
    assert (await bucket.list_objects("a"))[0].stamp == after.stamp
    assert await bucket.list_folders("a") == ["deep"]
    await bucket.delete("a/1")
    assert await bucket.info("a/1") is None


async def test_an_idle_registry_asks_an_s3_server_twice_a_poll(bucket: BucketStore, tmp_path: Path) -> None:
    """Whatever the number of models, by the server's own log."""
    entry = msgspec.json.encode(LogEntry(1, "alias-deleted", "", alias="a"))
    for number in range(30):
        await bucket.create(f"models/m{number}/log/00000001.json", entry)
    logs = ModelLogs(bucket)
    while not logs.complete:
        await logs.poll()
    await logs.poll()

    def served() -> int:
        return len((tmp_path / "access.log").read_text().splitlines())

    before = served()
    for _ in range(20):
        await logs.poll()
    assert served() - before <= 2 * 20 + 1


async def test_wrong_bytes_in_a_bucket_are_replaced_by_a_push(
    registries: list[str], token_file: Path, bucket: BucketStore, tmp_path: Path
) -> None:
    """A push finds the flipped byte, sends the file again, and the version is good."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.yaml").write_text(MANIFEST)
    (folder / "model.onnx").write_bytes(b"model")
    key = f"blobs/sha256/{hashlib.sha256(b'model').hexdigest()}"
    async with RegistryClient(registries[0], token_file) as client:
        await client.publish("m", folder, metrics={}, lineage={})
        await bucket.put(key, b"mOdel")
        version = await client.publish("m", folder, metrics={}, lineage={})
        assert await bucket.get(key) == b"model"
        await client.fetch(version, tmp_path / "fetched")
        assert (await client.fsck(deep=True)).problems == []


def artifact(**contents: bytes) -> list[dict[str, object]]:
    """The files of an artifact as the registry's calls take them."""
    return [
        {"path": name.replace("_", "."), "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in contents.items()
    ]


async def test_a_url_for_an_upload_does_not_replace_what_is_there(
    registries: list[str], bucket: BucketStore, token_file: Path, tmp_path: Path
) -> None:
    """Whoever keeps a URL cannot change a version's bytes with it, whatever headers they leave out."""
    data = {"model_yaml": MANIFEST.encode(), "model_onnx": b"model"}
    files = artifact(**data)
    digest = str(files[1]["sha256"])
    async with httpx.AsyncClient(headers={"Authorization": "Bearer token"}) as client, httpx.AsyncClient() as stranger:
        uploads = f"{registries[0]}/v1/models/m/uploads"
        targets = (await client.post(uploads, json={"files": files})).json()["files"]
        for target, content in zip(targets, data.values(), strict=True):
            assert (await stranger.put(target["url"], content=content)).status_code == 200
        assert await bucket.get(f"blobs/sha256/{digest}") is None
        # Another replica commits what was uploaded.
        done = await client.post(f"{registries[1]}/v1/models/m/versions", json={"files": files})
        assert done.status_code == 201, done.text
        assert await bucket.list_objects("uploads/sha256") == []
        assert (await stranger.put(targets[1]["url"], content=b"other")).status_code == 200
        assert await bucket.get(f"blobs/sha256/{digest}") == b"model"
        again = (await client.post(uploads, json={"files": files})).json()["files"]
        assert [(target["url"], target["present"]) for target in again] == [("", True)] * 2
        assert (await client.post(f"{registries[0]}/v1/models/m/versions", json={"files": files})).status_code == 201
    async with RegistryClient(registries[0], token_file) as registry:
        await registry.fetch(msgspec.convert(done.json(), Version), tmp_path / "fetched")
        assert (await registry.fsck(deep=True)).problems == []


async def test_wrong_bytes_are_not_committed(registries: list[str], bucket: BucketStore) -> None:
    """422 names the file and both digests, no blob appears, and the right bytes can be sent to the same URL."""
    data = {"model_yaml": MANIFEST.encode(), "model_onnx": os.urandom(12_000_000)}
    files = artifact(**data)
    versions = f"{registries[0]}/v1/models/m/versions"
    async with httpx.AsyncClient(headers={"Authorization": "Bearer token"}) as client, httpx.AsyncClient() as stranger:
        targets = (await client.post(f"{registries[0]}/v1/models/m/uploads", json={"files": files})).json()["files"]
        await stranger.put(targets[0]["url"], content=data["model_yaml"])
        wrong = data["model_onnx"][:-1] + b"!"
        await stranger.put(targets[1]["url"], content=wrong)
        refused = await client.post(versions, json={"files": files})
        assert (refused.status_code, refused.json()["code"]) == (422, "incomplete-upload")
        assert f"model.onnx: The bytes have sha256 {hashlib.sha256(wrong).hexdigest()}" in refused.json()["detail"]
        assert await bucket.info(f"blobs/sha256/{files[1]['sha256']}") is None
        await stranger.put(targets[1]["url"], content=data["model_onnx"])
        assert (await client.post(versions, json={"files": files})).status_code == 201


async def test_an_interrupted_push_sends_nothing_twice(registries: list[str]) -> None:
    """A file that was uploaded, but not committed, is present for the next push if its bytes are right."""
    files = artifact(right=b"right", wrong=b"wrong")
    uploads = f"{registries[0]}/v1/models/m/uploads"
    async with httpx.AsyncClient(headers={"Authorization": "Bearer token"}) as client, httpx.AsyncClient() as stranger:
        for target in (await client.post(uploads, json={"files": files})).json()["files"]:
            await stranger.put(target["url"], content=b"right")
        again = (await client.post(uploads, json={"files": files})).json()["files"]
        assert [target.get("present", False) for target in again] == [True, False]


async def test_uploads_that_were_never_committed_are_collected(bucket: BucketStore) -> None:
    """Those of a bucket after their grace, whatever their bytes; younger ones stay."""
    logs = ModelLogs(bucket)
    while not logs.complete:
        await logs.poll()
    await bucket.put("uploads/sha256/abandoned", b"x")
    await BlobCollector(bucket, logs, grace=3600).collect()
    assert len(await bucket.list_objects("uploads/sha256")) == 1
    await BlobCollector(bucket, logs, grace=-60).collect()
    assert await bucket.list_objects("uploads/sha256") == []


async def test_files_of_batches_in_a_bucket(s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is created once; a file whose sender leaves is not there, and why is not lost on the way."""
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    contents = Contents(open_store("s3://models/files"))

    async def sent(*pieces: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if then is not None:
            raise then

    assert await contents.create("batches/b/0", b"first")
    assert not await contents.create("batches/b/0", b"second")
    assert [chunk async for chunk in contents.read("batches/b/0", 5)] == [b"first"]
    large = [bytes([i]) * 1_000_000 for i in range(12)]
    assert await contents.write("files/f", sent(*large)) == 12_000_000
    assert b"".join([chunk async for chunk in contents.read("files/f", 12_000_000)]) == b"".join(large)
    with pytest.raises(PenstockError) as caught:
        await contents.write("files/g", sent(*large, then=PenstockError(499, "client-gone", "")))
    assert caught.value.code == "client-gone"
    assert await contents.size("files/g") is None
    with pytest.raises(FileNotFoundError):
        [chunk async for chunk in contents.read("files/g", 1)]
    assert await contents.list_sizes("files") == [("files/f", 12_000_000)]
    await contents.delete("files/f")
    await contents.delete("files/f")
    assert await contents.list_sizes("files") == []
