"""A registry that runs inside the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx

from penstock_registry.app import build_app
from penstock_registry.settings import RegistrySettings


@contextlib.asynccontextmanager
async def running(
    settings: RegistrySettings, token: str = "secret", *, ready: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a registry that, if ``ready``, has read its store."""
    app = build_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://registry", headers={"Authorization": f"Bearer {token}"}
        ) as client,
    ):
        if ready:
            await until_ready(client)
        yield client


async def until_ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.005)
