"""A registry over S3: bytes go directly between client and store by presigned URL, and replicas agree."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import AliasTarget
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
    command = [program, "--port", f"127.0.0.1:{port}", "posix", str(tmp_path / "s3")]
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
def registries(s3: dict[str, str]) -> Iterator[list[str]]:
    """The URLs of two registries over the same bucket."""
    ports = free_ports(2)
    running = []
    for port in ports:
        environment = {
            "PENSTOCK_REGISTRY_PORT": str(port),
            "PENSTOCK_REGISTRY_STORE_URL": "s3://models",
            "PENSTOCK_REGISTRY_TOKEN": "token",
        }
        running.append(subprocess.Popen([sys.executable, "-m", "penstock_registry"], env=os.environ | s3 | environment))
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    for url in urls:
        wait_for(f"{url}/readyz", 200)
    yield urls
    for process in running:
        process.terminate()
    assert [process.wait(30) for process in running] == [0, 0]


async def test_bytes_do_not_go_through_the_registry(registries: list[str], tmp_path: Path) -> None:
    """Upload and download targets are the store's own URLs; the other replica delivers what was sent to the first."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.yaml").write_text(MANIFEST)
    (folder / "model.onnx").write_bytes(os.urandom(3_000_000))
    async with RegistryClient(registries[0], "token") as one, RegistryClient(registries[1], "token") as other:
        version = await one.publish("m", folder, metrics={}, lineage={})
        headers = {"Authorization": "Bearer token"}
        targets = httpx.get(f"{registries[0]}/v1/models/m/versions/1/files", headers=headers).json()["files"]
        assert all("X-Amz-Signature" in target["url"] for target in targets)
        await other.fetch(version, tmp_path / "fetched")
    for name in ("model.yaml", "model.onnx"):
        assert (tmp_path / "fetched" / name).read_bytes() == (folder / name).read_bytes()


async def test_writers_on_two_replicas_lose_nothing(registries: list[str], tmp_path: Path) -> None:
    """Versions and aliases written through two registries at once are all in the same log, each number once."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.yaml").write_text(MANIFEST)
    (folder / "model.onnx").write_bytes(b"model")
    async with RegistryClient(registries[0], "token") as one, RegistryClient(registries[1], "token") as other:
        published = [client.publish("m", folder, metrics={}, lineage={}) for client in (one, other) for _ in range(6)]
        versions = await asyncio.gather(*published)
        assert sorted(v.version for v in versions) == list(range(1, 13))
        await asyncio.gather(*[c.set_alias("m", f"a{i}", [AliasTarget(i + 1)]) for i, c in enumerate((one, other) * 4)])
        log = await other.log_entries("m")
    assert len(log) == 12 + 8
