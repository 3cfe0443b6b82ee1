"""A first look, as the README has it: no StorageClass, one of each, a node port; with Helm 4 where it is there."""

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


def test_a_first_look_needs_nothing(namespace: Namespace) -> None:
    """values-try.yaml installs without a volume; the notes say what is lost with the pod and how to get in; helm test passes."""
    images = ["--set", f"image.tag={TAG}", "--set", f"image.repository={REPOSITORY}"]
    values = ["-f", f"{CHART}/values-try.yaml", "--wait", "--timeout=300s"]
    notes = run(HELM, "-n", namespace.name, "install", "penstock", CHART, *values, *images, timeout=400)
    assert "are lost with it" in notes
    assert "nodePort" in notes
    assert namespace.get("persistentvolumeclaims")["items"] == []
    run(HELM, "-n", namespace.name, "test", "penstock", "--timeout=180s", timeout=300)
    assert namespace.get("service", "penstock")["spec"]["ports"][0]["nodePort"]


def test_what_the_cluster_lacks_is_said(namespace: Namespace) -> None:
    """Notes name a missing StorageClass; a missing adapter; and kinds that the cluster does not know are refused."""
    dry = ["-n", namespace.name, "install", "penstock", CHART, "--dry-run=server"]
    classes = json.loads(run("kubectl", "get", "storageclasses", "-o", "json"))["items"]
    default = "storageclass.kubernetes.io/is-default-class"
    marked = [c for c in classes if c["metadata"].get("annotations", {}).get(default) == "true"]
    notes = run("helm", *dry)
    assert ("has no default StorageClass" in notes) is not bool(marked)
    notes = run("helm", *dry, "--set", "poolDefaults.autoscaling.metric=executor")
    assert "prometheus-adapter" in notes
    assert "penstock_inference_executor_utilisation" in notes
