"""Pools scale on executor utilisation under Locust, and on GPU utilisation to a hundred pods; gateways on requests."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import CHART, ROOT, CommandFailed, Namespace, python_pod, run, until
from tests.e2e.conftest import REPOSITORY, TABLE, TAG, Release
from tests.e2e.custom_metrics import wait_for_pool_metrics
from tests.e2e.pod_metrics import messages_answered
from tests.e2e.sleeping_pool import SleepingPool, sleeping_pool

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
REPORTS = Path(os.environ.get("REPORT_DIR", ROOT / "tests" / "e2e" / "reports"))

_SCALED = ["--set", "monitoring.podMonitors=true", "--set", "poolDefaults.autoscaling.enabled=true"]


def needs_adapter() -> None:
    try:
        run("kubectl", "get", "--raw", "/apis/custom.metrics.k8s.io/v1beta1")
        run("kubectl", "get", "crd", "podmonitors.monitoring.coreos.com")
    except CommandFailed:
        pytest.skip(
            "needs the Prometheus operator and prometheus-adapter with deploy/k8s/prometheus-adapter/rules.yaml"
        )


@pytest.fixture
def scaled(release: Release) -> Iterator[Release]:
    """A pool that scales on executor utilisation from one pod; its targets are low, because the machine is small."""
    needs_adapter()
    release.upgrade(
        *_SCALED,
        "--set", "poolDefaults.autoscaling.metric=executor",
        "--set", "poolDefaults.autoscaling.minReplicas=1",
        "--set", "poolDefaults.autoscaling.maxReplicas=3",
        "--set", "poolDefaults.autoscaling.executor=1",
        "--set", "poolDefaults.autoscaling.queueMilliseconds=5000",
        "--set", "poolDefaults.autoscaling.scaleDownSeconds=15",
    )  # fmt: skip
    wait_for_pool_metrics(release.namespace)
    yield release
    release.upgrade()


def watcher(namespace: Namespace) -> list[dict[str, Any]]:
    """Return the objects that allow a pod to list pods."""
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "watcher"}},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": {"name": "watcher"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "watcher"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "watcher"},
            "subjects": [{"kind": "ServiceAccount", "name": "watcher", "namespace": namespace.name}],
        },
    ]


@pytest.mark.slow
def test_from_one_to_several_and_back_without_a_failed_request(scaled: Release) -> None:
    """Under Locust's ramp the pool grows and shrinks again, every pod works, and no request fails.

    The report has pods and latency on one time axis. On one machine, more pods do not answer more requests per second,
    because they share its cores; their shares of the messages show that the new pods work.
    """
    namespace = scaled.namespace
    until(lambda: len(namespace.pods("inference")) == 1, "the pool to shrink to one pod", seconds=240)
    environment = {
        "URL": scaled.url, "KEY": scaled.key, "SHAPE": "ramp", "USERS": "14", "SECONDS": "210", "IMAGES": "false",
        "NAMESPACE": namespace.name, "MAX_P99_MS": "5000",
    }  # fmt: skip
    pod = python_pod("locust", f"{REPOSITORY}/loadtest:{TAG}", "", environment, {"app": "locust"})
    pod["spec"] |= {"serviceAccountName": "watcher", "automountServiceAccountToken": True}
    container = pod["spec"]["containers"][0]
    container["command"] = ["locust", "-f", "locustfile.py", "--headless", "--only-summary"]
    container["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    pod["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    namespace.apply(*watcher(namespace), pod)
    until(lambda: len(namespace.ready_pods("inference")) == 3, "three pods", seconds=200)
    shares = messages_answered(namespace, at_least=300)
    until(
        lambda: namespace.get("pod", "locust")["status"]["phase"] in ("Succeeded", "Failed"),
        "Locust",
        seconds=400,
        every=3,
    )
    log = namespace.kubectl("logs", "locust")
    rows = timeline(log)
    write_report(rows)
    namespace.kubectl("delete", "pod", "locust")
    most = max(int(row["ready"]) for row in rows)
    TABLE.append((f"Locust ramp, 1 -> {most} -> 1 pods", sent(log), int(rows[-1]["failures"])))
    assert "THRESHOLD MISSED" not in log, log[-3000:]
    assert rows[-1]["failures"] == "0"
    assert most == 3
    assert len(shares) == 3
    assert min(shares.values()) >= sum(shares.values()) / 3 / 2, shares
    until(lambda: len(namespace.pods("inference")) == 1, "the pool to shrink again", seconds=300)


def timeline(log: str) -> list[dict[str, str]]:
    """Return the table in a pod's log; lines of standard error may be between its lines."""
    lines = log.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("seconds,users,"))
    rows = [line for line in lines[start + 1 :] if re.fullmatch(r"[\d.]+(,[\d.]+){6}", line)]
    return list(csv.DictReader(io.StringIO("\n".join([lines[start], *rows]))))


def sent(log: str) -> int:
    """Return the number of requests in Locust's summary."""
    line = next(line for line in log.splitlines() if line.strip().startswith("Aggregated"))
    return int(line.split()[1])


def write_report(rows: list[dict[str, str]]) -> None:
    sys.path.insert(0, str(ROOT / "loadtest"))
    import timeline as page_of

    REPORTS.mkdir(parents=True, exist_ok=True)
    numbers = [{key: float(value) for key, value in row.items()} for row in rows]
    (REPORTS / "autoscaling.html").write_text(page_of.page(numbers))


#: Publishes a GPU utilisation for every pod of the GPU pool, as DCGM's exporter does on nodes with GPUs.
_EXPORTER = """
import http.server, json, os, ssl, urllib.request
BASE = "/var/run/secrets/kubernetes.io/serviceaccount"
def pods():
    request = urllib.request.Request(
        f"https://kubernetes.default.svc/api/v1/namespaces/{os.environ['NAMESPACE']}/pods?labelSelector=penstock.dev%2Fpool%3Dgpu",
        headers={"Authorization": "Bearer " + open(BASE + "/token").read()})
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=BASE + "/ca.crt"), timeout=10) as answer:
        return [item["metadata"]["name"] for item in json.load(answer)["items"]]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        value = open("/config/utilisation").read().strip()
        lines = [f'DCGM_FI_DEV_GPU_UTIL{{namespace="{os.environ["NAMESPACE"]}",pod="{pod}"}} {value}' for pod in pods()]
        self.send_response(200); self.send_header("Content-Type", "text/plain; version=0.0.4"); self.end_headers()
        self.wfile.write(("\\n".join(lines) + "\\n").encode())
http.server.ThreadingHTTPServer(("0.0.0.0", 9400), Handler).serve_forever()
"""


def exporter(namespace: Namespace, image: str, utilisation: int) -> list[dict[str, Any]]:
    pod = python_pod("gpu-exporter", image, _EXPORTER, {"NAMESPACE": namespace.name}, {"app": "gpu-exporter"})
    pod["spec"] |= {"serviceAccountName": "watcher", "automountServiceAccountToken": True}
    pod["spec"]["volumes"] = [{"name": "config", "configMap": {"name": "gpu-utilisation"}}]
    container = pod["spec"]["containers"][0]
    container |= {"ports": [{"name": "metrics", "containerPort": 9400}]}
    container["volumeMounts"] = [{"name": "config", "mountPath": "/config"}]
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "gpu-exporter"},
        "spec": {
            "selector": {"matchLabels": {"app": "gpu-exporter"}},
            # The series have the labels of the pods that they are about.
            "podMetricsEndpoints": [{"port": "metrics", "honorLabels": True}],
        },
    }
    data = {"utilisation": str(utilisation)}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gpu-utilisation"}, "data": data}
    return [*watcher(namespace), config, pod, monitor]


def test_a_gpu_pool_scales_to_a_hundred_pods(release: Release) -> None:
    """On GPU utilisation, the autoscaler goes from 1 to 10 to 100 pods; with it off, ``kubectl scale`` sets 25."""
    needs_adapter()
    nodes = json.loads(run("kubectl", "get", "nodes", "-l", "type=fake", "-o", "json"))["items"]
    if len(nodes) < 100:
        pytest.skip("needs a hundred (fake) nodes with nvidia.com/gpu, label type=fake")
    namespace = release.namespace
    pool: dict[str, Any] = {
        "models": ["big*"],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi", "nvidia.com/gpu": 1}},
        "nodeSelector": {"type": "fake"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
        "autoscaling": {"enabled": True, "metric": "gpu", "minReplicas": 1, "maxReplicas": 10},
    }

    def apply(**autoscaling: Any) -> None:
        pool["autoscaling"] |= autoscaling
        options = ["--set", "monitoring.podMonitors=true", "--set-json", f"pools.gpu={json.dumps(pool)}"]
        namespace.helm("upgrade", "penstock", CHART, "-f", release.values, *options)

    def running() -> int:
        return sum(pod["status"]["phase"] == "Running" for pod in namespace.pods("gpu"))

    try:
        apply()
        namespace.apply(*exporter(namespace, release.image, 95))
        until(lambda: running() == 10, "ten GPU pods", seconds=240, every=2)
        apply(maxReplicas=100)
        until(lambda: running() == 100, "a hundred GPU pods", seconds=400, every=3)
        apply(enabled=False)
        namespace.kubectl("scale", "deployment/penstock-gpu", "--replicas=25")
        until(lambda: len(namespace.pods("gpu")) == 25, "twenty-five GPU pods", seconds=120, every=2)
    finally:
        release.upgrade()
        namespace.kubectl(
            "delete", "pod/gpu-exporter", "podmonitor/gpu-exporter", "--ignore-not-found", "--grace-period=0"
        )


@pytest.fixture
def scaled_gateways(cluster: None, tmp_path: Path) -> Iterator[SleepingPool]:
    """Two to four gateways that scale on ten requests in flight each, before a model that needs no CPU."""
    needs_adapter()
    options = (
        "--set", "monitoring.podMonitors=true",
        "--set", "gateway.autoscaling.enabled=true",
        "--set", "gateway.autoscaling.metric=requests",
        "--set", "gateway.autoscaling.requests=10",
        "--set", "gateway.autoscaling.maxReplicas=4",
    )  # fmt: skip
    with sleeping_pool("penstock-e2e-gateways", tmp_path / "values.yaml", *options) as installed:
        yield installed


@pytest.mark.slow
def test_gateways_scale_on_requests_that_cost_no_cpu(scaled_gateways: SleepingPool) -> None:
    """Requests that wait for a slow model make the gateways four from two, and none fails."""
    scaled_gateways.scale(2)
    with scaled_gateways.load(users=48) as load:
        until(lambda: len(scaled_gateways.namespace.ready_pods("gateway")) == 4, "four gateways", seconds=300)
        count = load.more(100)
    TABLE.append(("48 users of a slow model, 2 -> 4 gateways", count.sent, sum(count.failed.values())))
    assert not count.failed
