"""The healthy pods of each pool, as Envoy sees them, and what follows from their number.

Calls: with P pods, one gateway alone keeps 2 P calls under way for a model version: one
runs in each pod while the next travels. Of several gateways each may keep P + 1: one for
every pod, also if all the clients have connected to the same gateway.

Probes: a version gets traffic once 2 P questions in a row, each of which Envoy takes to
some pod, are answered with "loaded". If one pod of ten still lacks it, that happens in one
attempt of eight; if half of the pods do, never. A pod that lacks a version refuses at
once, and Envoy asks another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import structlog

logger = structlog.get_logger()

_INTERVAL = 1.0


_LEAST_PROBES, _MOST_PROBES = 3, 50


class HealthyPods:
    """The healthy pods of each pool.

    Args:
        least_calls: calls that may be under way while no pods are known.
        gateways: how many gateways send to the same pools now.
    """

    def __init__(self, least_calls: int, gateways: Callable[[], int]) -> None:
        self._least_calls = least_calls
        self._gateways = gateways
        #: How many there are in each pool.
        self.count: dict[str, int] = {}

    def calls(self, pool: str) -> int:
        """Calls that may be under way to ``pool`` for one model version."""
        pods = self.count.get(pool, 0)
        return max(self._least_calls, 2 * pods if self._gateways() == 1 else pods + 1)

    def probes(self, pool: str) -> int:
        """Positive answers in a row after which a version counts as loaded in ``pool``."""
        return min(_MOST_PROBES, max(_LEAST_PROBES, 2 * self.count.get(pool, 0)))


async def follow_healthy_pods(admin_socket: Path, pods: HealthyPods, interval: float = _INTERVAL) -> None:
    """Keep ``pods.count`` at what Envoy's health checks find, until cancelled.

    While Envoy's admin interface does not answer, the last numbers are kept.

    Args:
        admin_socket: the unix socket of the admin interface.
    """
    away = False
    transport = httpx.AsyncHTTPTransport(uds=str(admin_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://envoy", timeout=5.0) as client:
        while True:
            try:
                answer = await client.get("/clusters", params={"format": "json"})
                pods.count = healthy_hosts(answer.raise_for_status().json())
                away = False
            except (httpx.HTTPError, ValueError, KeyError) as err:
                if not away:
                    logger.warning("Envoy's admin interface does not answer; keeping the last numbers", error=str(err))
                away = True
            await asyncio.sleep(interval)


def healthy_hosts(clusters: dict[str, Any]) -> dict[str, int]:
    """Healthy hosts by cluster, from ``GET /clusters?format=json`` of Envoy's admin interface.

    A host's ``health_status`` names what speaks against it beside ``eds_health_status``
    (``envoy.admin.v3.HostHealthStatus``).
    """
    return {
        cluster["name"]: sum(
            set(host["health_status"]) <= {"eds_health_status"} for host in cluster.get("host_statuses", [])
        )
        for cluster in clusters["cluster_statuses"]
    }
