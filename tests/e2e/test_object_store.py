"""With an object store, pods on any node fetch models by presigned URL and have no credentials."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.cluster import CHART, Namespace, until
from tests.e2e.conftest import Release
from tests.e2e.s3 import s3_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@pytest.fixture
def on_s3(release: Release) -> Iterator[Release]:
    """A second installation, with its models in S3 and with two registries."""
    namespace = Namespace("penstock-e2e-s3")
    namespace.delete()
    namespace.create()
    namespace.apply(*s3_server("models"))
    until(lambda: namespace.get("pod", "s3")["status"]["phase"] == "Running", "the S3 server")
    options = ["--set", "store.url=s3://models", "--set", "store.credentialsSecret=s3", "--set", "store.ports={7070}"]
    options += ["--set", "registry.replicas=2", "--set", "gateway.replicas=1"]
    namespace.helm("install", "penstock", CHART, "-f", release.values, "--wait", "--timeout=300s", *options)
    yield Release(namespace, release.values)
    namespace.delete()


def test_models_travel_between_pods_and_s3(on_s3: Release) -> None:
    """The example is trained, stored in S3, fetched by pods without credentials or a volume, and answers."""
    on_s3.model_answers()
    namespace = on_s3.namespace
    blobs = namespace.kubectl("logs", "s3", "--tail=2000")
    assert "PUT" in blobs and "X-Amz-Signature" in blobs, blobs[-2000:]
    pod = namespace.ready_pods("inference")[0]
    environment = namespace.kubectl("exec", pod, "--", "env")
    assert "AWS_" not in environment
    assert not namespace.get("persistentvolumeclaims")["items"]
    addresses = {p["status"]["podIP"] for p in namespace.pods("inference")}
    assert any(address in blobs for address in addresses), "no pod fetched from the store itself"
