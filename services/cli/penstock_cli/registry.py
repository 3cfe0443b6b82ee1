"""Access to the registry that the commands use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penstock_cli.settings import LocalSettings
from penstock_common.registry_client import RegistryClient

T = TypeVar("T")


def registry_access(settings: LocalSettings) -> tuple[str, str]:
    """Return the registry's URL and token: from the environment, or else those of this machine's installation."""
    token = os.environ.get("PENSTOCK_REGISTRY_TOKEN") or settings.secret("registry-token")
    return os.environ.get("PENSTOCK_REGISTRY_URL", settings.registry_url), token


def ask_registry(settings: LocalSettings, call: Callable[[RegistryClient], Awaitable[T]]) -> T:
    """Return the result of ``call`` with a client of that registry."""

    async def run() -> T:
        async with RegistryClient(*registry_access(settings)) as client:
            return await call(client)

    return asyncio.run(run())
