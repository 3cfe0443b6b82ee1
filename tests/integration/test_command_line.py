"""``penstock up`` and ``down`` for a user: taken ports, interruptions, second runs; a model from its file to an answer."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import lightgbm
import numpy as np
import psutil
import pytest

from penstock_common.registry_client import RegistryClient
from tests.installation import ROOT, Installation

pytestmark = pytest.mark.integration


def processes_of(home: Path) -> list[psutil.Process]:
    """Return all running processes that were started for an installation."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PENSTOCK_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_taken_port_is_refused_with_its_holder(tmp_path: Path) -> None:
    """``up`` names the port, the process that uses it and the variable that sets another port, and starts nothing."""
    installation = Installation(tmp_path, workers=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(installation.environment["PENSTOCK_GATEWAY_PORT"])))
        taken.listen()
        done = installation.penstock("up", "--workers", "1", check=False)
    assert done.returncode == 1
    assert f"Port {installation.environment['PENSTOCK_GATEWAY_PORT']}" in done.stderr
    assert f"pid {psutil.Process().pid}" in done.stderr
    assert "PENSTOCK_GATEWAY_PORT" in done.stderr
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("started", [2, 3, 4])  # the command itself, a supervisor, the registry; then a training
def test_an_interrupted_start_leaves_nothing(tmp_path: Path, started: int) -> None:
    """After Ctrl-C just when a process was started, the status is 130 and no process is left."""
    installation = Installation(tmp_path, workers=1)
    # The command as users have it: `python -m` ends itself by SIGINT, if the signal came while a module that calls
    # exec() with a text was imported (dataclasses do), however it was handled.
    command = [Path(sys.executable).with_name("penstock"), "up", "--workers", "1"]

    def from_a_terminal() -> None:
        # A shell's background jobs ignore SIGINT, and so would what they start.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command,
        env=installation.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=from_a_terminal,
    ) as starting:
        give_up = time.monotonic() + 60
        while len(processes_of(tmp_path)) < started:
            assert time.monotonic() < give_up and starting.poll() is None
        starting.send_signal(signal.SIGINT)
        _, stderr = starting.communicate(timeout=60)
    assert starting.returncode == 130, stderr
    assert processes_of(tmp_path) == []


def test_up_twice_changes_nothing_and_down_leaves_no_process(
    alone: Callable[..., Installation], tmp_path: Path
) -> None:
    """A second ``up`` keeps the processes and the key; with ``--tls`` a front is added, which the command line then
    calls; ``down`` ends all processes, which ``status`` shows."""
    installation = alone()
    try:
        installation.up()
        key = installation.key
        assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
        parts = {row["part"]: row["pid"] for row in installation.json("status")}
        assert set(parts) == {"registry", "worker-1", "envoy", "gateway"}
        installation.up()
        assert {row["part"]: row["pid"] for row in installation.json("status")} == parts
        assert installation.key == key
        answer = installation.penstock("predict", "spam", '{"text": "You won a prize"}')
        assert '"prediction"' in answer.stdout
        calls = installation.penstock("up", "--workers", "1", "--tls").stdout
        url = f"https://localhost:{installation.environment['PENSTOCK_TLS_PORT']}"
        assert f"curl -s --cacert {tmp_path}/tls/ca.crt {url}/v1/models/spam/predict" in calls
        assert (tmp_path / "tls" / "tls.key").stat().st_mode & 0o777 == 0o600
        with_front = {row["part"]: row["pid"] for row in installation.json("status")}
        assert parts == {name: pid for name, pid in with_front.items() if name != "front"}
        trusted = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.crt")
        with httpx.Client(base_url=url, http2=True, verify=trusted, headers={"API-Key": key}) as client:
            listed = client.get("/v1/models")
            assert (listed.status_code, listed.http_version) == (200, "HTTP/2")
        answer = installation.penstock("predict", "spam", '{"text": "You won a prize"}')
        assert '"prediction"' in answer.stdout
    finally:
        installation.down()
    assert processes_of(tmp_path) == []
    assert installation.penstock("status", "--json", check=False).returncode == 3


@pytest.fixture
def trees(installation: Installation) -> Iterator[str]:
    """The name of a model that is deleted afterwards."""
    yield "trees"

    async def delete() -> None:
        token = installation.registry_token_file("admin")
        async with RegistryClient(installation.registry_url, token) as registry:
            await registry.delete_alias("trees", "production")

    asyncio.run(delete())
    installation.penstock("delete", "trees")


def test_a_file_is_imported_checked_pushed_and_answers(installation: Installation, trees: str, tmp_path: Path) -> None:
    """What ``import`` writes serves as the framework itself answers; an artifact that fails its check is not registered."""
    features = np.random.default_rng(0).normal(size=(60, 2))
    model = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1).fit(features, features[:, 0] > 0)
    model.booster_.save_model(tmp_path / "trees.txt")
    folder = tmp_path / "artifact"
    labels = ("--labels", "low,high", "--example", '{"input": [0.5, -1.0]}')
    found = installation.json("import", str(tmp_path / "trees.txt"), "--output", str(folder), *labels)
    assert found["check"]["passed"] and found["check"]["examples"] == 1
    assert found["next"] == f"penstock push trees {folder}"
    version = installation.json("push", "trees", str(folder))["version"]
    installation.penstock("promote", "trees", str(version))
    answer = json.loads(installation.penstock("predict", "trees", '{"input": [0.5, -1.0]}').stdout)
    assert answer["probabilities"]["high"] == pytest.approx(model.predict_proba([[0.5, -1.0]])[0, 1], abs=1e-4)

    manifest = folder / "model.yaml"
    manifest.write_text(manifest.read_text().replace("- low\n", "- low\n- middle\n").replace("  - 2", "  - 3"))
    report = installation.penstock("check", str(folder), "--json", check=False)
    assert report.returncode == 1 and not json.loads(report.stdout)["passed"]
    refused = installation.penstock("push", "trees", str(folder), check=False)
    assert refused.returncode == 1 and "Nothing was registered" in refused.stderr
    (listed,) = [entry for entry in installation.json("models") if entry["name"] == "trees"]
    assert list(listed["versions"]) == [str(version)]
