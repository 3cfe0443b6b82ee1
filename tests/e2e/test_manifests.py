"""The API server accepts the chart's main variants and the plain manifests."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.e2e.cluster import CHART, ROOT, run
from tests.e2e.conftest import Release
from tests.unit.chart.test_chart import VARIANTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_api_server_accepts_every_variant(release: Release, variant: str) -> None:
    """They pass a server-side dry run in a namespace that enforces Pod Security "restricted", without missing kinds."""
    text = run("helm", "template", "other", CHART, "--kube-version", "1.34.0", *VARIANTS[variant])
    documents = [d for d in yaml.safe_load_all(text) if d and d["kind"] != "HTTPRoute"]
    stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    release.namespace.kubectl("apply", "--dry-run=server", "-f", "-", stdin=stdin)


@pytest.mark.parametrize("folder", ["overlays/small", "loadtest"])
def test_the_api_server_accepts_the_plain_manifests(release: Release, folder: str) -> None:
    """The overlay and the load test of deploy/k8s pass a server-side dry run in this namespace."""
    text = run("kubectl", "kustomize", str(ROOT / "deploy" / "k8s" / folder))
    moved = text.replace("namespace: penstock\n", f"namespace: {release.namespace.name}\n")
    items = [d for d in yaml.safe_load_all(moved) if d["kind"] != "Namespace"]
    stdin = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    release.namespace.kubectl("apply", "--dry-run=server", "-f", "-", stdin=stdin)
