"""A trial with values-try.yaml: no StorageClass, one replica of each part, a node port; with Helm 4 if installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import CHART, Namespace, run
from tests.e2e.conftest import REPOSITORY, TAG, Release

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
HELM = shutil.which("helm4") or "helm"


@pytest.fixture
def namespace(release: Release) -> Iterator[Namespace]:
    namespace = Namespace("penstock-e2e-try")
    namespace.delete()
    namespace.create()
    yield namespace
    namespace.delete()


def test_a_trial_needs_nothing(namespace: Namespace) -> None:
    """It installs without a volume; the notes say what is lost with the pod and how to connect; helm test passes."""
    images = ["--set", f"image.tag={TAG}", "--set", f"image.repository={REPOSITORY}"]
    values = ["-f", f"{CHART}/values-try.yaml", "--wait", "--timeout=300s"]
    notes = run(HELM, "-n", namespace.name, "install", "penstock", CHART, *values, *images, timeout=400)
    assert "are lost with it" in notes
    assert "nodePort" in notes
    assert namespace.get("persistentvolumeclaims")["items"] == []
    run(HELM, "-n", namespace.name, "test", "penstock", "--timeout=180s", timeout=300)
    assert namespace.get("service", "penstock")["spec"]["ports"][0]["nodePort"]


def test_the_notes_name_what_the_cluster_lacks(namespace: Namespace) -> None:
    """They name a missing default StorageClass, and the adapter's rules that an autoscaler on executor needs."""
    dry = ["-n", namespace.name, "install", "penstock", CHART, "--dry-run=server"]
    classes = json.loads(run("kubectl", "get", "storageclasses", "-o", "json"))["items"]
    default = "storageclass.kubernetes.io/is-default-class"
    marked = [c for c in classes if c["metadata"].get("annotations", {}).get(default) == "true"]
    notes = run("helm", *dry)
    assert ("has no default StorageClass" in notes) is not bool(marked)
    notes = run("helm", *dry, "--set", "poolDefaults.autoscaling.metric=executor")
    assert "prometheus-adapter" in notes
    assert "penstock_inference_executor_utilisation" in notes
