"""The page on which a person asks the services."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import httpx
import pytest

from penstock_gateway.app import build_app
from penstock_gateway.edge.health import Health
from penstock_gateway.settings import GatewaySettings
from tests.unit.gateway.pages.content_policy import content_policy, source_of

PROJECT = Path(__file__).resolve().parents[4] / "services" / "gateway"


async def answer(path: Path, method: str = "GET", docs: Literal["open", "key"] = "open") -> httpx.Response:
    """Ask a gateway with its database in this folder for the page."""
    app = build_app(GatewaySettings(keys_url=str(path / "keys.db"), docs=docs), Health())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, "/try")


async def test_the_page_needs_no_key(tmp_path: Path) -> None:
    """It is HTML, small, and asked for anew after an upgrade."""
    page = await answer(tmp_path)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert page.text.startswith("<!doctype html>")
    assert len(page.content) < 30_000
    assert (await answer(tmp_path, "HEAD")).status_code == 200


async def test_the_page_runs_its_own_script_alone(tmp_path: Path) -> None:
    """The policy allows by hash the script and style that the page has, calls of this origin, and no frame around it."""
    page = await answer(tmp_path)
    policy = content_policy(page)
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        assert policy.pop(directive) == source_of(page, element)
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "blob: data:",
        "media-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["referrer-policy"] == "no-referrer"


async def test_the_page_closes_with_the_documentation(tmp_path: Path) -> None:
    """docs=key, for a gateway that shows nothing to those without a key, has no page."""
    closed = await answer(tmp_path, docs="key")
    assert (closed.status_code, closed.json()["code"]) == (404, "unknown-path")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_the_page_is_only_read(method: str, tmp_path: Path) -> None:
    """Other methods are 405."""
    assert (await answer(tmp_path, method)).status_code == 405


def test_the_wheel_has_the_page() -> None:
    """setuptools packs the files that package-data names; the page is one of them."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["penstock_gateway"]
    packed = {path for pattern in patterns for path in (PROJECT / "penstock_gateway").glob(pattern)}
    assert PROJECT / "penstock_gateway" / "pages" / "try.html" in packed
