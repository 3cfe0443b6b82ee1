"""Keys of an installation in a cluster, in a Secret or in PostgreSQL: every gateway notices each change."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import CHART, CommandFailed, Namespace, run, until
from tests.e2e.conftest import Release
from tests.e2e.gateway_metrics import gateway_metric
from tests.e2e.postgresql import postgresql

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

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
    return min(gateway_metric(namespace, pod, metric) for pod in namespace.ready_pods("gateway"))


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
