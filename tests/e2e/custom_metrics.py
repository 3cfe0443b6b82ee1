"""The metrics that autoscalers read from prometheus-adapter."""

from __future__ import annotations

import json

from tests.e2e.cluster import CommandFailed, Namespace, run, until

_API = "/apis/custom.metrics.k8s.io/v1beta1/namespaces"


def wait_for_pool_metrics(namespace: Namespace) -> None:
    """Wait until the adapter knows what a pool on ``metric: executor`` scales on."""
    name = namespace.name
    wanted = [
        f"{_API}/{name}/pods/*/penstock_inference_executor_utilisation",
        f"{_API}/{name}/pods/*/penstock_inference_queue_wait_seconds",
        f"{_API}/{name}/metrics/penstock_gateway_waiting_messages?metricLabelSelector=pool%3Dinference",
    ]
    until(
        lambda: all(_known(path) for path in wanted),
        "the adapter to know the pool's metrics; are the rules of deploy/k8s/prometheus-adapter in place?",
        seconds=180,
    )


def _known(path: str) -> bool:
    try:
        return bool(json.loads(run("kubectl", "get", "--raw", path))["items"])
    except CommandFailed:
        return False
