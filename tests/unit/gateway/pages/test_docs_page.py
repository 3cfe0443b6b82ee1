"""The page of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import httpx

from penstock_gateway.app import build_app
from penstock_gateway.edge.health import Health
from penstock_gateway.settings import GatewaySettings
from tests.unit.gateway.pages.content_policy import content_policy, source_of


async def answer(path: Path, docs: Literal["open", "key"] = "open", url: str = "/docs") -> httpx.Response:
    """Ask a gateway with its database in this folder."""
    app = build_app(GatewaySettings(keys_url=str(path / "keys.db"), docs=docs), Health())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.get(url)


async def test_the_page_runs_swagger_ui_alone(tmp_path: Path) -> None:
    """The policy allows the gateway's own files, the page's one script by its hash, and no frame around it."""
    page = await answer(tmp_path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert content_policy(page) == {
        "default-src": "'none'",
        "script-src": f"'self' {source_of(page, 'script')}",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' blob: data:",
        "media-src": "blob:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_all_that_the_page_loads_is_there(tmp_path: Path) -> None:
    """Its script, style and icon are the gateway's own files."""
    page = await answer(tmp_path)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {path.rpartition(".")[2] for path in loaded} == {"js", "css", "png"}
    for path in loaded:
        assert (await answer(tmp_path, url=path)).status_code == 200, path


async def test_the_page_closes_with_the_document(tmp_path: Path) -> None:
    """docs=key asks for a key for /openapi.json, which the page could not send."""
    closed = await answer(tmp_path, "key")
    assert (closed.status_code, closed.json()["code"]) == (404, "unknown-path")
