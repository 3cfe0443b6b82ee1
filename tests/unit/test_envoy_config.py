"""Envoy itself reads the configuration, as committed and as a local installation renders it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock_cli.plan import render_envoy
from penstock_cli.settings import LocalSettings

COMMITTED = Path(__file__).resolve().parents[2] / "deploy" / "envoy" / "envoy.yaml"
ENVOY = Path(sys.executable).parent / "envoy"


def validate(path: Path) -> None:
    command = [str(ENVOY), "--mode", "validate", "--log-level", "error", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_committed_configuration_is_valid() -> None:
    """The file is complete by itself."""
    validate(COMMITTED)


def test_with_a_collector_the_rendered_configuration_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spans' cluster has the collector's address."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:14317")
    path = render_envoy(LocalSettings(home=tmp_path), 1)
    validate(path)
    assert "14317" in path.read_text()


@pytest.mark.parametrize("workers", [1, 5])
def test_the_rendered_configuration_is_valid_and_names_the_workers(tmp_path: Path, workers: int) -> None:
    """Rendering changes ports and endpoints and nothing else."""
    path = render_envoy(LocalSettings(home=tmp_path, envoy_port=18082, worker_port=19100), workers)
    validate(path)
    text = path.read_text()
    assert "18082" in text
    assert all(str(19100 + i) in text for i in range(workers))
