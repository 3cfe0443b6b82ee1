"""A training and its registry start at the same time, as in the chart's Job."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import ROOT, free_ports

pytestmark = pytest.mark.integration


def test_a_training_waits_for_its_registry_and_is_done_once(tmp_path: Path) -> None:
    """With ``--if-missing``, a training waits for the registry, trains and promotes; a later one does nothing."""
    (port,) = free_ports(1)
    token = tmp_path / "tokens" / "train"
    token.parent.mkdir()
    token.write_text("of-this-test")
    environment = os.environ | {
        "PENSTOCK_REGISTRY_PORT": str(port),
        "PENSTOCK_REGISTRY_STORE_URL": str(tmp_path / "store"),
        "PENSTOCK_REGISTRY_TOKENS_DIR": str(token.parent),
        "PENSTOCK_REGISTRY_TOKEN_FILE": str(token),
        "OMP_NUM_THREADS": "1",
    }
    train = [sys.executable, "-m", "penstock_training", "spam", "--if-missing"]
    train += ["--registry-url", f"http://127.0.0.1:{port}"]
    with socket.create_server(("127.0.0.1", port)) as not_yet:
        not_yet.settimeout(60)
        early = subprocess.Popen(train, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        not_yet.accept()[0].close()
    with early, subprocess.Popen([sys.executable, "-m", "penstock_registry"], env=environment, cwd=ROOT) as registry:
        try:
            first, _ = early.communicate(timeout=120)
            second = subprocess.run(train, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
            # Without an installation on this machine, the command line takes the token from the environment.
            elsewhere = environment | {"PENSTOCK_HOME": str(tmp_path / "nothing")}
            command = [sys.executable, "-m", "penstock_cli", "train", "spam", "--if-missing"]
            third = subprocess.run(command, env=elsewhere, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        finally:
            early.kill()
            registry.terminate()
    assert early.returncode == 0, first
    assert "production now points at version 1" in first
    assert "nothing to do" in second
    assert "nothing to do" in third
