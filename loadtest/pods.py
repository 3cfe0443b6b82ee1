"""Pods and latency on one time axis, with NAMESPACE set: ``timeline.csv`` and ``timeline.html`` in REPORT_DIR.

Without REPORT_DIR the table goes to standard output, where a pod's log keeps it.
"""

from __future__ import annotations

import csv
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import gevent
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

NAMESPACE = os.environ.get("NAMESPACE", "")
COMPONENT = os.environ.get("COMPONENT", "inference")
REPORT_DIR = os.environ.get("REPORT_DIR", "")
FIELDS = ["seconds", "users", "requests_per_second", "p95_ms", "failures", "pods", "ready"]


def sample(environment: Environment, api: Any, started: float) -> dict[str, float]:
    """One moment of the run."""
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


def save(rows: list[dict[str, float]], file: TextIO) -> None:
    writer = csv.DictWriter(file, FIELDS)
    writer.writeheader()
    writer.writerows(rows)


def page(rows: list[dict[str, float]]) -> str:
    """Each series as a line of its own over the same time axis, scaled to its largest value."""
    width, height = 900, 110
    last = max([row["seconds"] for row in rows], default=1) or 1
    charts = []
    for field in FIELDS[1:]:
        top = max([row[field] for row in rows], default=0) or 1
        points = " ".join(f"{row['seconds'] / last * width:.1f},{height - row[field] / top * (height - 10):.1f}" for row in rows)
        charts.append(
            f"<h3>{field} (0 to {top:g})</h3><svg width='{width}' height='{height}' style='border-bottom:1px solid #999'>"
            f"<polyline points='{points}' fill='none' stroke='#06c' stroke-width='1.5'/></svg>"
        )
    return f"<!doctype html><meta charset='utf-8'><title>Load and pods</title><h1>0 to {last:g} s</h1>{''.join(charts)}"
