"""A registry over S3: bytes go directly between client and store by presigned URL, and replicas agree."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import AliasTarget, LogEntry
from penstock_registry.bucket_store import BucketStore
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


async def test_a_url_for_an_upload_does_not_replace_what_is_there(registries: list[str], bucket: BucketStore) -> None:
    """No URL is given for a blob that is present; one given before is refused once the blob is there."""
    file = {"path": "a", "size": 5, "sha256": hashlib.sha256(b"model").hexdigest()}
    async with httpx.AsyncClient(headers={"Authorization": "Bearer token"}) as client:
        uploads = f"{registries[0]}/v1/models/m/uploads"
        (first,) = (await client.post(uploads, json={"files": [file]})).json()["files"]
        async with httpx.AsyncClient() as stranger:
            assert (await stranger.put(first["url"], content=b"model", headers=first["headers"])).status_code == 200
            again = await stranger.put(first["url"], content=b"other", headers=first["headers"])
            assert again.status_code == 412
        (second,) = (await client.post(uploads, json={"files": [file]})).json()["files"]
        assert (second["url"], second["present"]) == ("", True)
    assert await bucket.get(f"blobs/sha256/{file['sha256']}") == b"model"
