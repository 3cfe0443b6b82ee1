"""Calls from the pages of other origins."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from penstock_gateway.app import build_app
from penstock_gateway.edge.health import Health
from penstock_gateway.settings import GatewaySettings

PREFLIGHT = {
    "Origin": "https://app.example.com",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "api-key,content-type",
}


async def preflight(origins: list[str], tmp_path: Path) -> httpx.Response:
    settings = GatewaySettings(keys_url=str(tmp_path / "keys.db"), cors_origins=origins)
    transport = httpx.ASGITransport(build_app(settings, Health()))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.options("/v1/models/m/predict", headers=PREFLIGHT)


@pytest.mark.parametrize("origins", [[], ["https://other.example.com"]])
async def test_no_origin_is_allowed_by_default(origins: list[str], tmp_path: Path) -> None:
    """A browser gets no leave for a page whose origin is not listed."""
    assert "access-control-allow-origin" not in (await preflight(origins, tmp_path)).headers


async def test_a_listed_origin_is_allowed(tmp_path: Path) -> None:
    """Its pages may send a key in a header; no cookies are involved."""
    answer = await preflight([PREFLIGHT["Origin"]], tmp_path)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PREFLIGHT["Origin"]
    assert "api-key" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
