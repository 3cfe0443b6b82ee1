"""Who says yes to what."""

from __future__ import annotations

import httpx
from starlette.applications import Starlette
from starlette.routing import Route

from penstock_gateway.edge.health import Health


async def ask(health: Health, path: str) -> httpx.Response:
    routes = [Route("/readyz", health.ready), Route("/v2/health/ready", health.server_ready)]
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path)


async def test_a_gateway_without_pods_takes_traffic_and_answers_nothing() -> None:
    """Other gateways would have no pods either, so that /readyz says yes; the protocol's readiness says no, and why."""
    pods = False
    health = Health({"keys": lambda: True}, {"pods": lambda: pods})
    assert (await ask(health, "/readyz")).json() == {"ready": True, "components": {"keys": "ok"}}
    answer = await ask(health, "/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "components": {"keys": "ok", "pods": "not yet"}}
    pods = True
    assert (await ask(health, "/v2/health/ready")).status_code == 200


async def test_what_a_gateway_itself_lacks_counts_for_both() -> None:
    """A component that is missing, or the drain."""
    for health in (Health(), Health({"keys": lambda: False}), Health({"keys": lambda: True}, draining=True)):
        assert [(await ask(health, path)).status_code for path in ("/readyz", "/v2/health/ready")] == [503, 503]
