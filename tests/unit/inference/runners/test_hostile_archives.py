"""A hostile model file reaches nothing from a model's process, though it runs: no token, file, socket or command."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from penstock_common.manifest import parse_manifest
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import LoadFailedError
from tests.unit.inference.runners.conftest import ROOT
from tests.unit.inference.runners.hostile_archives import ALL, NOTHING, SECRET, Attacks

RUN_CODE = ["guard", "symbol", "pickled-weight", "old-weights", "pickled-constant", "sample-inputs"]
WRITE = ["library", "write-file", "save"]
READ = ["read-file", "external-data"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Written:
    attacks: Attacks
    folders: dict[str, Path]
    listener: socket.socket

    def connections(self) -> int:
        count = 0
        while True:
            try:
                self.listener.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """All artifacts, and a listener that they can try to reach."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        attacks = Attacks(tmp_path_factory.mktemp("hostile"), listener.getsockname()[1])
        yield Written(attacks, attacks.write_all(), listener)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def forker() -> AsyncIterator[Forker]:
    before = dict(os.environ)
    os.environ["PENSTOCK_INFERENCE_REGISTRY_TOKEN"] = "secret"
    forker = Forker(run_seconds=60.0, load_seconds=60.0)
    yield forker
    await forker.close()
    os.environ.clear()
    os.environ.update(before)


async def attempt(forker: Forker, folder: Path) -> str:
    """What comes of loading and running an artifact in a confined process: its answer, or the reason why not."""
    manifest = parse_manifest((folder / "model.yaml").read_text())
    try:
        process = await forker.start(manifest, folder, threads=1, memory_bytes=2**30)
    except LoadFailedError as err:
        return str(err)
    try:
        (outputs,) = await process.run([{"x": np.ones((1, 3), np.float32)}], 1)
        return outputs.tobytes().decode("latin-1")
    finally:
        await process.stop()


async def test_the_attacks_work_without_confinement(written: Written) -> None:
    """Loaded in an ordinary process, each runs a command, reads the secret or writes a file: none is harmless."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PENSTOCK_INFERENCE_REGISTRY_TOKEN": "secret",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "tests.unit.inference.runners.hostile_archives"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, *map(str, written.folders.values())], capture_output=True, text=True, env=environment
    )
    found = json.loads(done.stdout)
    for name in RUN_CODE:
        assert found[name] == ALL, name
    assert found["read-file"].encode() == SECRET
    for name in set(WRITE) & written.folders.keys():
        assert written.attacks.marker(name).exists(), name
        written.attacks.marker(name).unlink()
    assert written.connections() > 0


@pytest.mark.parametrize("name", RUN_CODE)
async def test_code_in_an_archive_reaches_nothing(written: Written, forker: Forker, name: str) -> None:
    """It runs, and ends its process; it finds no token and no file, and can neither connect nor start a program."""
    assert f"ended by itself with status {NOTHING} " in await attempt(forker, written.folders[name])
    assert written.connections() == 0


@pytest.mark.parametrize("name", WRITE)
async def test_an_archive_writes_nothing(written: Written, forker: Forker, name: str) -> None:
    """Whether it is loaded or not, the file that it would write is not there."""
    if name not in written.folders:
        pytest.skip("needs gcc")
    await attempt(forker, written.folders[name])
    assert not written.attacks.marker(name).exists()


@pytest.mark.parametrize("name", READ)
async def test_an_archive_reads_only_its_own_files(written: Written, forker: Forker, name: str) -> None:
    """Its author does not get another file's bytes as an output."""
    assert SECRET.decode() not in await attempt(forker, written.folders[name])
