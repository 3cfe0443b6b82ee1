"""If NAMESPACE is set, record pods and latency over time: ``timeline.csv`` and ``timeline.html`` in REPORT_DIR.

Without REPORT_DIR the table goes to standard output, and so into the log of a pod.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner
from timeline import page, save

NAMESPACE = os.environ.get("NAMESPACE", "")
COMPONENT = os.environ.get("COMPONENT", "inference")
REPORT_DIR = os.environ.get("REPORT_DIR", "")


def sample(environment: Environment, api: Any, started: float) -> dict[str, float]:
    """Return the figures of this moment."""
    pods = api.list_namespaced_pod(NAMESPACE, label_selector=f"app.kubernetes.io/component={COMPONENT}").items
    staying = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    ready = [p for p in staying if any(c.type == "Ready" and c.status == "True" for c in p.status.conditions or [])]
    total = environment.stats.total
    return {
        "seconds": round(time.time() - started, 1),
        "users": environment.runner.user_count if environment.runner else 0,
        "requests_per_second": round(total.current_rps, 1),
        "p95_ms": total.get_current_response_time_percentile(0.95) or 0,
        "failures": total.num_failures,
        "pods": len(staying),
        "ready": len(ready),
    }


@events.init.add_listener
def watch(environment: Environment, **_: Any) -> None:
    if not NAMESPACE or isinstance(environment.runner, WorkerRunner):
        return
    from kubernetes import client, config

    try:
        config.load_incluster_config()
    except config.ConfigException:
        config.load_kube_config()
    api = client.CoreV1Api()
    rows: list[dict[str, float]] = []
    started = time.time()

    def run() -> None:
        while True:
            rows.append(sample(environment, api, started))
            gevent.sleep(1)

    watching = gevent.spawn(run)

    @events.quitting.add_listener
    def write(**_: Any) -> None:
        watching.kill()
        if not REPORT_DIR:
            save(rows, sys.stdout)
            return
        folder = Path(REPORT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "timeline.csv").open("w", newline="") as file:
            save(rows, file)
        (folder / "timeline.html").write_text(page(rows))
