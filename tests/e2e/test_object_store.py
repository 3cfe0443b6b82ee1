"""With an object store, pods on any node fetch models by presigned URL and have no credentials."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import CHART, RESTRICTED_CONTAINER, RESTRICTED_POD, Namespace, until
from tests.e2e.conftest import Release

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
#: An S3 server over a folder.
S3_IMAGE = os.environ.get("S3_IMAGE", "versity/versitygw:v1.8.0")


def s3_server() -> list[dict[str, object]]:
    container = RESTRICTED_CONTAINER | {
        "name": "s3",
        "image": S3_IMAGE,
        "args": ["--port", ":7070", "--access", "access", "--secret", "secretsecret", "posix", "/data"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "data", "emptyDir": {}}]
    bucket = RESTRICTED_CONTAINER | {
        "name": "bucket",
        "image": Release.image,
        "command": ["mkdir", "-p", "/data/models"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = RESTRICTED_POD | {"initContainers": [bucket], "containers": [container], "volumes": volumes}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "s3", "labels": {"app": "s3"}}, "spec": spec}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s3"},
        "spec": {"selector": {"app": "s3"}, "ports": [{"port": 7070}]},
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3"},
        "stringData": {
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "secretsecret",
            "AWS_ENDPOINT": "http://s3:7070",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        },
    }
    return [pod, service, secret]


@pytest.fixture
def on_s3(release: Release) -> Iterator[Release]:
    """A second installation, with its models in S3 and with two registries."""
    namespace = Namespace("penstock-e2e-s3")
    namespace.delete()
    namespace.create()
    namespace.apply(*s3_server())
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
