"""``make bench-scale``: does a pool with more pods answer as many more requests?

The model sleeps for 0.1 s, one row at a time, so that the pods need no CPU and the machine
is not what limits them; the chart is installed with two gateways on the cluster that
KUBECONFIG names. Linear is what the pods could do if none ever waited: ten requests/s each.

With ``--autoscaler``, 600 clients join within two minutes and an autoscaler sets the number
of pods, from 2 to 10. That needs prometheus-adapter; see ``deploy/k8s/prometheus-adapter``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.e2e.custom_metrics import wait_for_pool_metrics
from tests.e2e.sleeping_pool import RUN_SECONDS, SleepingPool, Throughput, sleeping_pool

_USERS = 48
_CLIENTS, _JOIN_SECONDS, _RUN_SECONDS = 600, 120.0, 300.0
_AUTOSCALER = [
    "--set", "monitoring.podMonitors=true", "--set", "poolDefaults.autoscaling.enabled=true",
    "--set", "poolDefaults.autoscaling.metric=executor", "--set", "poolDefaults.autoscaling.maxReplicas=10",
]  # fmt: skip


def curve(pool: SleepingPool, pods: list[int], seconds: int) -> Table:
    """Measure the throughput for each number of pods."""
    table = Table("pods", "requests/s", "of linear", "pods' shares of the mean", "failed")
    for count in pods:
        pool.scale(count)
        with pool.load(users=_USERS) as load:
            table.add_row(*_row(pool.throughput(load, answers=round(seconds * count / RUN_SECONDS))))
    return table


def _row(measured: Throughput) -> list[str]:
    pods, rate = len(measured.answered), measured.requests_per_second
    mean = sum(measured.answered.values()) / pods
    shares = f"{min(measured.answered.values()) / mean:.2f} to {max(measured.answered.values()) / mean:.2f}"
    return [str(pods), f"{rate:.1f}", f"{rate * RUN_SECONDS / pods:.2f}", shares, str(measured.failed or 0)]


def autoscaled(pool: SleepingPool) -> Table:
    """Let an autoscaler follow the clients; one row for each ten seconds."""
    wait_for_pool_metrics(pool.namespace)
    table = Table("seconds", "pods ready", "sent", "failed")
    with pool.load(users=_CLIENTS, join=_JOIN_SECONDS) as load:
        started = time.monotonic()
        while (passed := time.monotonic() - started) < _RUN_SECONDS:
            count = load.count()
            ready = len(pool.namespace.ready_pods("inference"))
            table.add_row(f"{passed:.0f}", str(ready), str(count.sent), str(sum(count.failed.values())))
            time.sleep(10)
        table.caption = f"failed: {load.count().failed or 0}"
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Measure how a pool scales.")
    parser.add_argument("--pods", default="1,2,4,6", help="numbers of pods to measure")
    parser.add_argument("--seconds", type=int, default=20, help="of each measurement")
    parser.add_argument("--autoscaler", action="store_true", help="let an autoscaler set the number of pods")
    arguments = parser.parse_args()
    options = _AUTOSCALER if arguments.autoscaler else []
    with (
        tempfile.TemporaryDirectory() as home,
        sleeping_pool("penstock-scale", Path(home) / "values.yaml", *options) as pool,
    ):
        pods = [int(count) for count in arguments.pods.split(",")]
        Console().print(autoscaled(pool) if arguments.autoscaler else curve(pool, pods, arguments.seconds))


if __name__ == "__main__":
    main()
