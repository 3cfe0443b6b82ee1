"""Keys of an installation in a cluster, in a Secret or in PostgreSQL: every gateway notices each change."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import CHART, RESTRICTED_CONTAINER, RESTRICTED_POD, CommandFailed, Namespace, run, until
from tests.e2e.conftest import Release

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE", "postgres:15-bookworm")
_ASK = (
    "import sys, httpx; "
    "print(httpx.get('http://127.0.0.1:8080/v1/models', headers={'API-Key': sys.argv[1]}).status_code)"
)


def statuses(release: Release, key: str) -> set[str]:
    """Return the statuses that the gateways answer to a key."""
    namespace = release.namespace
    return {
        namespace.kubectl("exec", pod, "-c", "gateway", "--", "python", "-c", _ASK, key).strip()
        for pod in namespace.ready_pods("gateway")
    }


def counted(release: Release, metric: str) -> float:
    """Return the lowest value of a metric without labels among the gateways."""
    namespace = release.namespace
    program = "import httpx; print(httpx.get('http://127.0.0.1:9090/metrics').text)"
    pages = [
        namespace.kubectl("exec", pod, "-c", "gateway", "--", "python", "-c", program)
        for pod in namespace.ready_pods("gateway")
    ]
    return min(float(line.split()[1]) for page in pages for line in page.splitlines() if line.startswith(f"{metric} "))


def penstock(release: Release, *arguments: str) -> str:
    in_cluster = ["--kubernetes", "--namespace", release.namespace.name]
    return run(sys.executable, "-m", "penstock_cli", "keys", *arguments, *in_cluster)


def test_keys_are_made_and_revoked_in_the_cluster(release: Release) -> None:
    """Within seconds, every gateway accepts a new key and refuses a revoked one; an upgrade keeps all keys."""
    created = json.loads(penstock(release, "create", "--name", "shop", "--json"))
    until(lambda: statuses(release, created["key"]) == {"200"}, "the new key", seconds=30)
    listed = json.loads(penstock(release, "list", "--json"))
    assert {"first", "shop"} <= {row["name"] for row in listed}
    penstock(release, "revoke", created["id"])
    until(lambda: statuses(release, created["key"]) == {"401"}, "the revocation", seconds=30)
    first = release.key
    release.upgrade("--set", "gateway.accessLog=all")
    assert release.key == first
    assert statuses(release, first) == {"200"}
    assert statuses(release, created["key"]) == {"401"}


def postgresql() -> list[dict[str, object]]:
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


@pytest.fixture
def on_postgresql(release: Release) -> Iterator[Release]:
    """A second installation, whose keys are in a database that is empty at first."""
    namespace = Namespace("penstock-e2e-postgresql")
    namespace.delete()
    namespace.create()
    namespace.apply(*postgresql())
    namespace.kubectl("wait", "--for=condition=ready", "pod/postgres", "--timeout=120s")
    options = ["--set", "auth.postgresqlSecret=db", "--set", "example.enabled=false"]
    namespace.helm("install", "penstock", CHART, "-f", release.values, "--wait", "--timeout=300s", *options)
    yield Release(namespace, release.values)
    namespace.delete()


def test_keys_live_in_postgresql(on_postgresql: Release) -> None:
    """A gateway starts without keys, notices new and revoked ones, and keeps those it knows while the server is down."""
    namespace = on_postgresql.namespace

    def in_a_gateway(*arguments: str) -> str:
        command = ["penstock", "keys", *arguments]
        return namespace.kubectl("exec", "deploy/penstock-gateway", "-c", "gateway", "--", *command)

    shop, other = (json.loads(in_a_gateway("create", "--name", name, "--json")) for name in ("shop", "other"))
    until(lambda: statuses(on_postgresql, other["key"]) == {"200"}, "the new keys", seconds=30)
    in_a_gateway("revoke", shop["id"])
    until(lambda: statuses(on_postgresql, shop["key"]) == {"401"}, "the revocation", seconds=30)
    with pytest.raises(CommandFailed, match="PostgreSQL"):
        penstock(on_postgresql, "create", "--name", "lost")
    assert not [s for s in namespace.get("secrets")["items"] if s["metadata"]["name"] == "penstock-keys"]
    namespace.kubectl("delete", "pod", "postgres")
    failures = "penstock_gateway_key_refresh_failures_total"
    until(lambda: counted(on_postgresql, failures) > 0, "the gateways to notice", seconds=30)
    assert statuses(on_postgresql, other["key"]) == {"200"}
    assert statuses(on_postgresql, shop["key"]) == {"401"}
    assert len(namespace.ready_pods("gateway")) == 2
