"""Only the design's arrows are open: every other way between the parts is refused by the network."""

from __future__ import annotations

import json

import pytest

from tests.e2e.cluster import python_pod, until
from tests.e2e.conftest import Release

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_PROBE = """
import json, os, socket
found = {}
for target in os.environ["TARGETS"].split(","):
    host, port = target.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        found[target] = True
    except OSError:
        found[target] = False
print(json.dumps(found), flush=True)
"""


def reach(release: Release, name: str, labels: dict[str, str], targets: list[str]) -> dict[str, bool]:
    """Which targets (host:port) a pod with these labels can open a connection to."""
    namespace = release.namespace
    namespace.kubectl("delete", "pod", name, "--ignore-not-found", "--grace-period=0", "--force")
    namespace.apply(python_pod(name, release.image, _PROBE, {"TARGETS": ",".join(targets)}, labels))
    until(lambda: namespace.get("pod", name)["status"]["phase"] in ("Succeeded", "Failed"), f"pod {name}")
    answer: dict[str, bool] = json.loads(namespace.kubectl("logs", name).splitlines()[-1])
    namespace.kubectl("delete", "pod", name, "--grace-period=0", "--force")
    return answer


def part(component: str) -> dict[str, str]:
    """The labels by which policies know a part; not ready, so no Service sends it anything."""
    return {
        "app.kubernetes.io/name": "penstock",
        "app.kubernetes.io/instance": "penstock",
        "app.kubernetes.io/component": component,
    }


def test_the_network_allows_what_the_design_draws_and_no_more(release: Release) -> None:
    """A stranger reaches the gateway alone; gateways and pods reach what they call; nobody scrapes from outside."""
    namespace = release.namespace
    pod = f"{namespace.pods('inference')[0]['status']['podIP']}:9100"
    pod_metrics = f"{namespace.pods('inference')[0]['status']['podIP']}:9200"
    gateway = f"{namespace.pods('gateway')[0]['status']['podIP']}:8080"
    gateway_metrics = f"{namespace.pods('gateway')[0]['status']['podIP']}:9090"
    envoy_ops = f"{namespace.pods('gateway')[0]['status']['podIP']}:8084"
    envoy_admin = f"{namespace.pods('gateway')[0]['status']['podIP']}:8083"
    registry = "penstock-registry:8081"
    everything = [pod, pod_metrics, gateway, gateway_metrics, envoy_ops, envoy_admin, registry]

    def opened(name: str, labels: dict[str, str]) -> set[str]:
        return {target for target, open_ in reach(release, name, labels, everything).items() if open_}

    assert opened("stranger", {"app": "stranger"}) == {gateway}
    assert opened("as-training", part("example")) == {registry}
    assert opened("as-registry", part("registry")) == set()
    # Gateways and pods of the same labels do not call each other.
    assert opened("as-inference", part("inference")) == {registry}
    assert opened("as-gateway", part("gateway")) == {pod, registry}
