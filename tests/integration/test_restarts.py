"""Parts of a local installation that die come back; ``status`` says what happened."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.installation import Installation, until

pytestmark = pytest.mark.integration


def row(installation: Installation, part: str) -> dict[str, Any]:
    """What ``penstock status`` says about a part."""
    [found] = [row for row in installation.status() if row["part"] == part]
    return found


def predicts(client: httpx.Client) -> bool:
    try:
        return client.post("/v1/models/spam/predict", json={"text": "You won a prize"}).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("part", ["worker-1", "envoy", "gateway", "registry"])
def test_a_killed_part_comes_back(installation: Installation, client: httpx.Client, part: str) -> None:
    """After SIGKILL it is started again by itself, predictions work, and ``status`` has the restart and its reason."""
    before = row(installation, part)
    psutil.Process(before["pid"]).kill()
    until(lambda: row(installation, part)["restarts"] == before["restarts"] + 1, f"the restart of {part}")
    until(lambda: row(installation, part)["running"], f"{part} to run")
    until(lambda: predicts(client), "a prediction")
    after = row(installation, part)
    assert after["pid"] != before["pid"]
    assert after["last_exit"] == "killed by SIGKILL"
    installation.up()  # everything is ready again for the other tests
    assert row(installation, part) == after


def test_a_killed_supervisor_is_told_and_repaired(installation: Installation, client: httpx.Client) -> None:
    """Its part ends with it; ``status`` says so with exit status 3, and ``up`` starts both again."""
    before = row(installation, "gateway")
    gateway = psutil.Process(before["pid"])
    gateway.parent().kill()
    gateway.wait(30)
    assert installation.penstock("status", check=False).returncode == 3
    assert row(installation, "gateway")["last_exit"] == "its supervisor was killed, and the part with it"
    assert row(installation, "gateway")["pid"] is None
    installation.up()
    until(lambda: predicts(client), "a prediction")
    after = row(installation, "gateway")
    assert (after["running"], after["restarts"], after["last_exit"]) == (True, 0, "")


def test_the_front_comes_back_as_other_parts_do(alone: Callable[..., Installation], tmp_path: Path) -> None:
    """After SIGKILL by itself, after its supervisor's end with another ``up``, which need not repeat ``--tls``."""
    with_front = alone()
    try:
        with_front.penstock("up", "--workers", "1", "--tls")
        before = row(with_front, "front")
        trusted = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.crt")
        url = f"https://localhost:{with_front.environment['PENSTOCK_TLS_PORT']}"
        with httpx.Client(base_url=url, verify=trusted, headers={"API-Key": with_front.key}) as client:
            assert predicts(client)
            psutil.Process(before["pid"]).kill()
            until(lambda: row(with_front, "front")["restarts"] == 1, "the restart of the front")
            until(lambda: predicts(client), "a prediction")
            after = row(with_front, "front")
            assert (after["running"], after["last_exit"]) == (True, "killed by SIGKILL")
            assert "supervisor: killed by SIGKILL; starting it again" in (tmp_path / "logs" / "front.log").read_text()

            front = psutil.Process(after["pid"])
            front.parent().kill()
            front.wait(30)
            assert with_front.penstock("status", check=False).returncode == 3
            with_front.up()
            assert predicts(client)
    finally:
        with_front.down()
    assert with_front.status() == []


def test_a_part_that_cannot_start_is_not_tried_for_long(tmp_path: Path) -> None:
    """``up`` fails at the first end of a part with the end of its log, and leaves nothing running."""
    installation = Installation(tmp_path, workers=1, environment={"PENSTOCK_REGISTRY_POLL_SECONDS": "soon"})
    done = installation.penstock("up", "--workers", "1", check=False)
    assert done.returncode == 1
    assert "registry did not become ready" in done.stderr
    assert "PENSTOCK_REGISTRY_POLL_SECONDS" in done.stderr
    assert installation.status() == []


def test_only_the_user_reaches_what_asks_for_no_credentials(installation: Installation) -> None:
    """What has no port has a private socket; every port asks for a key or has only metrics."""
    folder = installation.socket("envoy").parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    sockets = {
        path.name: (stat.S_ISSOCK(path.stat().st_mode), path.stat().st_mode & 0o777) for path in folder.iterdir()
    }
    names = ("envoy", "envoy-admin", "front", "worker-1", "worker-2")
    assert sockets == {f"{name}.sock": (True, 0o600) for name in names}
    allowed = {
        "gateway": {installation.environment["PENSTOCK_GATEWAY_PORT"]},
        "registry": {installation.environment["PENSTOCK_REGISTRY_PORT"]},
        "envoy": set(),
        "worker-1": {installation.environment["PENSTOCK_WORKER_METRICS_PORT"]},
        "worker-2": {str(int(installation.environment["PENSTOCK_WORKER_METRICS_PORT"]) + 1)},
    }
    for part, ports in allowed.items():
        pid = row(installation, part)["pid"]
        connections = [connection for connection in psutil.net_connections("inet") if connection.pid == pid]
        listening = {connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN}
        assert {str(address.port) for address in listening} == ports
        assert {address.ip for address in listening} <= {"127.0.0.1"}
