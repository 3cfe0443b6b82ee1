"""The load tests against a local installation: their exit code shows whether the thresholds were met."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.installation import ROOT, Installation

pytestmark = pytest.mark.integration


def locust(installation: Installation, key: str, report: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = installation.environment | {"URL": installation.url, "KEY": key, **variables}
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        "locustfile.py",
        "--headless",
        "--only-summary",
        "--html",
        str(report),
    ]
    return subprocess.run(command, env=environment, cwd=ROOT / "loadtest", capture_output=True, text=True, check=False)


def refusals(installation: Installation) -> float:
    """Return how many predictions the gateway has refused for their rate."""
    lines = httpx.get(f"{installation.url}/metrics").text.splitlines()
    series = 'penstock_gateway_requests_total{route="predict",status="429"} '
    return sum(float(line.removeprefix(series)) for line in lines if line.startswith(series))


def test_met_thresholds_end_with_status_0(installation: Installation, unlimited_key: str, tmp_path: Path) -> None:
    """Rows, lists and images are answered, one tenant gets correct refusals, and a report is written.

    The speed of the machine does not matter here: the bounds of latency and number have a test of their own.
    """
    limited = installation.known_key("--name", "limited", "--rate", "0.01", "--burst", "5")
    before = refusals(installation)
    done = locust(
        installation, unlimited_key, tmp_path / "report.html",
        SHAPE="soak", SECONDS="6", USERS="12", LIMITED_KEY=limited, MAX_P99_MS="inf", MIN_REQUESTS="1",
    )  # fmt: skip
    log = done.stdout + done.stderr
    assert done.returncode == 0, log
    for name in ("one row", "32 rows", "image", "beyond the limit"):
        assert name in log, log
    assert refusals(installation) > before
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_missed_thresholds_end_with_status_1(installation: Installation, tmp_path: Path) -> None:
    """More failures than allowed are reported, and the status is 1."""
    done = locust(installation, "psk_no_such_key", tmp_path / "report.html", SHAPE="spike", SECONDS="4", USERS="4")
    assert done.returncode == 1
    assert "THRESHOLD MISSED" in done.stdout
    assert "requests failed" in done.stdout


def test_an_unknown_shape_is_refused(installation: Installation, tmp_path: Path) -> None:
    """The message names the known shapes."""
    done = locust(installation, "", tmp_path / "report.html", SHAPE="pyramid")
    assert done.returncode == 1
    assert "ramp, spike, soak" in done.stdout + done.stderr
