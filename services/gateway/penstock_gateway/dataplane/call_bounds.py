"""How many calls a gateway may have under way to a pool: the bound follows the pods.

With P pods that Envoy finds healthy, one gateway alone keeps 2 P calls under way for a
model version: one runs in each pod while the next travels. Of several gateways each may
keep P + 1: one for every pod, also if all the clients have connected to the same gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import structlog

logger = structlog.get_logger()

_INTERVAL = 1.0


class CallBounds:
    """The bound of each pool.

    Args:
        least: the bound while no more is known of the pods.
        gateways: how many gateways send to the same pools now.
    """

    def __init__(self, least: int, gateways: Callable[[], int]) -> None:
        self._least = least
        self._gateways = gateways
        #: Healthy pods by pool.
        self.pods: dict[str, int] = {}

    def calls(self, pool: str) -> int:
        """Calls that may be under way to ``pool`` for one model version."""
        pods = self.pods.get(pool, 0)
        return max(self._least, 2 * pods if self._gateways() == 1 else pods + 1)


async def follow_healthy_pods(admin_url: str, bounds: CallBounds, interval: float = _INTERVAL) -> None:
    """Keep ``bounds.pods`` at what Envoy's health checks find, until cancelled.

    While Envoy's admin interface does not answer, the last numbers are kept.
    """
    away = False
    async with httpx.AsyncClient(base_url=admin_url, timeout=5.0) as client:
        while True:
            try:
                answer = await client.get("/clusters", params={"format": "json"})
                bounds.pods = healthy_hosts(answer.raise_for_status().json())
                away = False
            except (httpx.HTTPError, ValueError, KeyError) as err:
                if not away:
                    logger.warning("Envoy's admin interface does not answer; keeping the last bounds", error=str(err))
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
