"""A registry that runs inside the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from penstock_registry.app import build_app
from penstock_registry.settings import RegistrySettings


def write_tokens(folder: Path, **tokens: str) -> Path:
    """Write the registry's tokens by role; return the folder."""
    folder.mkdir(exist_ok=True)
    for role, text in tokens.items():
        (folder / role).write_text(text)
    return folder


def administered(store: Path) -> RegistrySettings:
    """Settings of a registry whose administrator has the token ``secret``."""
    return RegistrySettings(store_url=str(store), tokens_dir=write_tokens(store.parent / "tokens", admin="secret"))


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
