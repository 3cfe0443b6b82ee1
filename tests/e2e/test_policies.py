"""The network allows only the connections that the parts need, and refuses all others."""

from __future__ import annotations

import json

import pytest

from tests.e2e.cluster import CommandFailed, python_pod, until
from tests.e2e.conftest import Release

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_PROBE = """
import json, os, socket, time
from concurrent.futures import ThreadPoolExecutor

def opens(target):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        return True
    except OSError:
        return False

targets = os.environ["TARGETS"].split(",")
with ThreadPoolExecutor(len(targets)) as pool:
    while True:
        print(json.dumps([t for t, open_ in zip(targets, pool.map(opens, targets)) if open_]), flush=True)
        time.sleep(1)
"""


def reaches(release: Release, name: str, labels: dict[str, str], targets: list[str], allowed: set[str]) -> None:
    """Wait until a pod with these labels can open connections to the allowed targets (host:port) and no others.

    The network takes some seconds to apply policies to a new pod.
    """
    namespace = release.namespace
    namespace.kubectl("delete", "pod", name, "--ignore-not-found", "--grace-period=0", "--force")
    namespace.apply(python_pod(name, release.image, _PROBE, {"TARGETS": ",".join(targets)}, labels))

    def last() -> set[str] | None:
        try:
            lines = namespace.kubectl("logs", name, "--tail=1").splitlines()
        except CommandFailed:  # it has not started
            return None
        return set(json.loads(lines[-1])) if lines else None

    try:
        until(lambda: last() == allowed, f"{name} reaches {allowed}", seconds=60)
    except AssertionError:
        assert last() == allowed
        raise
    finally:
        namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force")


def part(component: str) -> dict[str, str]:
    """Return the labels by which policies select a part. The pod is never ready, so no Service sends it anything."""
    return {
        "app.kubernetes.io/name": "penstock",
        "app.kubernetes.io/instance": "penstock",
        "app.kubernetes.io/component": component,
    }


def test_the_network_allows_only_what_the_parts_need(release: Release) -> None:
    """A stranger reaches only the gateway; each part reaches only what it calls; metrics are closed to all of them."""
    namespace = release.namespace
    pod = f"{namespace.pods('inference')[0]['status']['podIP']}:9100"
    pod_metrics = f"{namespace.pods('inference')[0]['status']['podIP']}:9200"
    gateway = f"{namespace.pods('gateway')[0]['status']['podIP']}:8080"
    gateway_metrics = f"{namespace.pods('gateway')[0]['status']['podIP']}:9090"
    envoy_ops = f"{namespace.pods('gateway')[0]['status']['podIP']}:8084"
    registry = "penstock-registry:8081"
    everything = [pod, pod_metrics, gateway, gateway_metrics, envoy_ops, registry]

    reaches(release, "stranger", {"app": "stranger"}, everything, {gateway})
    reaches(release, "as-training", part("example"), everything, {registry})
    reaches(release, "as-registry", part("registry"), everything, set())
    reaches(release, "as-inference", part("inference"), everything, {registry})
    # Implementations differ on whether a gateway may reach the port of gateways that is open to everybody.
    others = [target for target in everything if target != gateway]
    reaches(release, "as-gateway", part("gateway"), others, {pod, registry})
