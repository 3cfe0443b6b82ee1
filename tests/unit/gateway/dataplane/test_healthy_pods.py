"""Calls under way and probes follow the pods that Envoy finds healthy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from penstock_gateway.dataplane.healthy_pods import HealthyPods, follow_healthy_pods, healthy_hosts


def clusters(**pods: list[dict[str, object]]) -> dict[str, Any]:
    """What Envoy's admin interface answers."""
    return {
        "cluster_statuses": [
            {
                "name": name,
                **({"host_statuses": [{"health_status": status} for status in statuses]} if statuses else {}),
            }
            for name, statuses in pods.items()
        ]
    }


HEALTHY: dict[str, object] = {"eds_health_status": "HEALTHY"}


def test_hosts_that_fail_a_check_or_are_ejected_do_not_count() -> None:
    """A host counts if nothing speaks against it; a cluster without hosts has none."""
    status = clusters(
        inference=[HEALTHY, HEALTHY | {"failed_active_health_check": True}, HEALTHY | {"failed_outlier_check": True}],
        empty=[],
    )
    assert healthy_hosts(status) == {"inference": 1, "empty": 0}


@pytest.mark.parametrize(
    ("count", "gateways", "calls"), [(0, 1, 2), (1, 1, 2), (2, 1, 4), (6, 1, 12), (1, 2, 2), (6, 2, 7), (6, 8, 7)]
)
def test_enough_calls_keep_every_pod_busy(count: int, gateways: int, calls: int) -> None:
    """One gateway alone has two calls for each pod; of several, each has one for each pod and one more."""
    pods = HealthyPods(2, lambda: gateways)
    pods.count = {"inference": count}
    assert pods.calls("inference") == calls


def test_a_pool_that_envoy_does_not_know_has_the_least() -> None:
    """Before the first look at Envoy, and for a pool without pods, requests can still leave."""
    assert HealthyPods(3, lambda: 1).calls("gpu") == 3


async def test_the_pods_are_followed_and_an_outage_keeps_the_last_number(tmp_path: Path) -> None:
    """Each look takes over what Envoy says on its socket; if that is away or broken, nothing changes."""
    socket = tmp_path / "admin.sock"
    answers = [
        (200, json.dumps(clusters(inference=[HEALTHY, HEALTHY]))),
        (500, ""),
        (200, "no json"),
        (200, json.dumps(clusters(inference=[HEALTHY] * 5))),
    ]
    pods = HealthyPods(2, lambda: 1)
    seen: list[int | None] = []
    done = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET /clusters?format=json ")
        seen.append(pods.count.get("inference"))
        if not answers:
            done.set()
            return
        status, body = answers.pop(0)
        writer.write(f"HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        writer.close()

    following = asyncio.create_task(follow_healthy_pods(socket, pods, interval=0))
    await asyncio.sleep(0)  # a first look at a socket that is not there
    async with await asyncio.start_unix_server(answer, socket), asyncio.timeout(5):
        await done.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert seen == [None, 2, 2, 2, 5]


@pytest.mark.parametrize(("count", "probes"), [(0, 3), (1, 3), (2, 4), (10, 20), (100, 50)])
def test_more_pods_need_more_probes(count: int, probes: int) -> None:
    """Twice as many positive answers as there are pods show that a version is loaded, within bounds."""
    pods = HealthyPods(2, lambda: 1)
    pods.count = {"inference": count}
    assert pods.probes("inference") == probes
