"""Keys of an installation in a cluster: made and revoked by the command line, noticed by every gateway."""

from __future__ import annotations

import json
import sys

import pytest

from tests.e2e.cluster import run, until
from tests.e2e.conftest import Release

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_ASK = (
    "import sys, httpx; "
    "print(httpx.get('http://127.0.0.1:8080/v1/models', headers={'API-Key': sys.argv[1]}).status_code)"
)


def statuses(release: Release, key: str) -> set[str]:
    """What each gateway answers to a key."""
    namespace = release.namespace
    return {
        namespace.kubectl("exec", pod, "-c", "gateway", "--", "python", "-c", _ASK, key).strip()
        for pod in namespace.ready_pods("gateway")
    }


def penstock(release: Release, *arguments: str) -> str:
    in_cluster = ["--kubernetes", "--namespace", release.namespace.name]
    return run(sys.executable, "-m", "penstock_cli", "keys", *arguments, *in_cluster)


def test_keys_are_made_and_revoked_in_the_cluster(release: Release) -> None:
    """A new key is known to every gateway within seconds, a revoked one refused; an upgrade keeps both; the first stays."""
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
