"""What a server leaves behind: nothing, neither when it is killed nor of two hundred models that came and went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.unit.inference.runners.conftest import ROOT


def command(what: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.unit.inference.runners.server_program", what, str(folder)]


@pytest.fixture
def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def test_a_killed_server_leaves_no_process(tmp_path: Path, environment: dict[str, str]) -> None:
    """After SIGKILL the parent and the models' processes end, also the one in the middle of an endless run."""
    with subprocess.Popen(command("orphans", tmp_path), stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout is not None
        children = json.loads(server.stdout.readline())
        assert len(children) == 3
        server.kill()
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_hundred_models_leave_the_server_as_it_was(tmp_path: Path, environment: dict[str, str]) -> None:
    """Its resident memory stays within 5 %, though each exchanged 8 MB with it; no process or descriptor is left."""
    done = subprocess.run(command("loads", tmp_path), env=environment, check=True, capture_output=True)
    found = json.loads(done.stdout)
    early, late = min(found["resident"][10:40]), min(found["resident"][-30:])
    assert late < 1.05 * early
    assert found["children"] == 1  # the parent
    assert found["descriptors"] < 20
