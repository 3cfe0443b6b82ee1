"""A PostgreSQL server in a test's namespace, with an empty database."""

from __future__ import annotations

import os

from tests.e2e.cluster import RESTRICTED_CONTAINER, RESTRICTED_POD

POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE", "postgres:15-bookworm")


def postgresql() -> list[dict[str, object]]:
    """Return the pod and the Service ``postgres``, and the Secret ``db`` with its URL."""
    container = RESTRICTED_CONTAINER | {
        "name": "postgres",
        "image": POSTGRES_IMAGE,
        "env": [
            {"name": "POSTGRES_USER", "value": "penstock"},
            {"name": "POSTGRES_PASSWORD", "value": "of-this-test"},
            {"name": "PGDATA", "value": "/data/pg"},
        ],
        "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "127.0.0.1"]}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "sockets", "mountPath": "/var/run/postgresql"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    spec = RESTRICTED_POD | {
        "securityContext": RESTRICTED_POD["securityContext"] | {"runAsUser": 999},
        "containers": [container],
        "volumes": [{"name": name, "emptyDir": {}} for name in ("data", "sockets", "tmp")],
    }
    labels = {"app": "postgres"}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "postgres", "labels": labels}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "postgres"},
            "spec": {"selector": labels, "ports": [{"port": 5432}]},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db"},
            "stringData": {"url": "postgresql://penstock:of-this-test@postgres/penstock"},
        },
    ]
