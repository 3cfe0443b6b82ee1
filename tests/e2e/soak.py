"""``make soak``: steady load while parts die at random, or while the chart is upgraded and rolled back again and again.

No request may fail, and none may take longer than three seconds for the fault of one pod.
Three pods with a model that sleeps answer twelve requests/s through two gateways, on the
cluster that KUBECONFIG names.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.e2e.cluster import until
from tests.e2e.faults import FAULTS, replace
from tests.e2e.load import Count, Load
from tests.e2e.sleeping_pool import SleepingPool, sleeping_pool

_PODS = 3
_SLOWEST = 3.0
_WATCH_SECONDS = 15.0


@dataclass
class Event:
    """What happened, and between which times of the load's clock."""

    what: str
    began: float
    ended: float = 0.0


def soak(pool: SleepingPool, load: Load, minutes: float) -> list[Event]:
    """Let random parts fail, one at a time, for so many minutes."""
    events: list[Event] = []
    end = time.monotonic() + 60 * minutes
    faults = list(FAULTS)
    while time.monotonic() < end:
        if len(events) % len(faults) == 0:
            random.shuffle(faults)  # each as often as the others
        fault = faults[len(events) % len(faults)]
        event = Event(fault.__name__, load.count().at)
        pod = fault(pool.namespace, pool.image)
        until(lambda e=event: load.count().at > e.began + _WATCH_SECONDS, "the load to go on")  # type: ignore[misc]
        replace(pool.namespace, pod)
        settle(pool)
        event.ended = load.count().at
        events.append(event)
        print(f"{event.ended - event.began:5.0f} s  {event.what} of {pod}", flush=True)
    return events


def upgrades(pool: SleepingPool, load: Load, count: int) -> list[Event]:
    """Upgrade and roll back in turn; each replaces all gateways and pods."""
    events: list[Event] = []
    for number in range(count):
        event = Event("helm rollback" if number % 2 else "helm upgrade", load.count().at)
        if number % 2:
            pool.namespace.helm("rollback", "penstock", "--wait", "--timeout=300s")
        else:
            pool.upgrade("--reuse-values", "--set", "gateway.accessLog=all", "--set", "poolDefaults.retainSeconds=31")
        settle(pool)
        event.ended = load.count().at
        events.append(event)
        print(f"{event.ended - event.began:5.0f} s  {event.what} {number + 1} of {count}", flush=True)
    return events


def settle(pool: SleepingPool) -> None:
    """Wait until every part is complete again, and every gateway ready."""
    wanted = {"gateway": 2, "inference": _PODS, "registry": 1}
    until(
        lambda: all(
            len(pool.namespace.pods(part)) == len(pool.namespace.ready_pods(part)) == n for part, n in wanted.items()
        ),
        f"{wanted}",
    )


def report(events: list[Event], history: list[Count]) -> Table:
    """One row for each kind of event: what was sent and failed while it lasted, and the slowest answer."""
    table = Table("what", "times", "sent", "failed", "slowest, s")
    for what in sorted({event.what for event in events}):
        mine = [event for event in events if event.what == what]
        lines = [line for line in history if any(event.began < line.at <= event.ended for event in mine)]
        slowest = max(line.slowest for line in lines)
        sent, failed = sum(line.sent for line in lines), sum(sum(line.failed.values()) for line in lines)
        table.add_row(what, str(len(mine)), str(sent), str(failed), f"{slowest:.2f}")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.soak", description="Count what fails under faults.")
    parser.add_argument("--minutes", type=float, default=15, help="of random faults")
    parser.add_argument("--upgrades", type=int, default=0, help="upgrade and roll back so often instead")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="of the order of faults")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    print(f"seed {arguments.seed}")
    with (
        tempfile.TemporaryDirectory() as home,
        sleeping_pool("penstock-soak", Path(home) / "values.yaml", "--set", f"poolDefaults.replicas={_PODS}") as pool,
    ):
        # A pod's network is cut from inside the pod, which a restricted namespace does not allow.
        pool.namespace.label("pod-security.kubernetes.io/enforce=privileged")
        settle(pool)
        with pool.load(users=13, pause=1.0) as load:
            many = arguments.upgrades
            events = upgrades(pool, load, many) if many else soak(pool, load, arguments.minutes)
            history = load.history()
    Console().print(report(events, history))
    failures = [(line.at, line.failed) for line in history if line.failed]
    slowest = max(line.slowest for line in history)
    total = sum(line.sent for line in history)
    print(f"{total} sent, {sum(sum(f.values()) for _, f in failures)} failed, the slowest took {slowest:.2f} s")
    for at, failed in failures:
        print(f"at {at - history[0].at:.0f} s: {failed}")
    return 1 if failures or slowest > _SLOWEST else 0


if __name__ == "__main__":
    sys.exit(main())
