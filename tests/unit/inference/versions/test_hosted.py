"""The state of a version on a pod, as ``/metrics`` has it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from penstock_common.manifest import Manifest
from penstock_common.registry_models import Version
from penstock_inference import metrics
from penstock_inference.versions.hosted import HostedVersion


def states() -> dict[str, float]:
    """The states that ``/metrics`` has of the version, with the times."""
    samples = [
        s for m in REGISTRY.collect() if m.name == "penstock_inference_version_state_since_seconds" for s in m.samples
    ]
    return {s.labels["state"]: s.value for s in samples if s.labels["model"] == "seen"}


def test_metrics_have_the_state_of_a_version(regression: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One state at a time, with the time at which it began: another failure of the same load does not change it."""
    now = [100.0]
    monkeypatch.setattr(metrics, "time", SimpleNamespace(time=lambda: now[-1]))
    hosted = HostedVersion(Version("seen", 1, regression, [], "now"))
    assert states() == {"loading": 100}
    now.append(200.0)
    hosted.failed("OSError: no file")
    now.append(300.0)
    hosted.failed("OSError: still no file")
    assert states() == {"unavailable": 200}
    hosted.try_again()
    assert states() == {"loading": 300}
    hosted.metrics.remove()
    assert states() == {}
