"""An S3 server over a folder, in a test's namespace."""

from __future__ import annotations

import os

from tests.e2e.cluster import RESTRICTED_CONTAINER, RESTRICTED_POD
from tests.e2e.conftest import Release

S3_IMAGE = os.environ.get("S3_IMAGE", "versity/versitygw:v1.8.0")


def s3_server(bucket: str) -> list[dict[str, object]]:
    """Return the pod and the Service ``s3`` with a bucket, which is the folder ``/data/BUCKET``; and the Secret ``s3``
    with what its clients need.
    """
    container = RESTRICTED_CONTAINER | {
        "name": "s3",
        "image": S3_IMAGE,
        "args": ["--port", ":7070", "--access", "access", "--secret", "secretsecret", "posix", "/data"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "data", "emptyDir": {}}]
    made = RESTRICTED_CONTAINER | {
        "name": "bucket",
        "image": Release.image,
        "command": ["mkdir", "-p", f"/data/{bucket}"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = RESTRICTED_POD | {"initContainers": [made], "containers": [container], "volumes": volumes}
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
