"""Access to the registry that the commands use."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from penstock_cli.settings import LocalSettings
from penstock_common.registry_client import RegistryClient

T = TypeVar("T")


def registry_access(settings: LocalSettings, role: str) -> tuple[str, Path | None]:
    """Return the registry's URL and the file with its token; None if there is no such file.

    The environment names them (``PENSTOCK_REGISTRY_URL``, ``PENSTOCK_REGISTRY_TOKEN_FILE``); without it, they are those
    of this machine's installation, which has a token for each role.
    """
    url = os.environ.get("PENSTOCK_REGISTRY_URL", settings.registry_url)
    named = os.environ.get("PENSTOCK_REGISTRY_TOKEN_FILE")
    if named:
        return url, Path(named)
    own = settings.registry_token_file(role)
    return url, own if own.exists() else None


def ask_registry(settings: LocalSettings, role: str, call: Callable[[RegistryClient], Awaitable[T]]) -> T:
    """Return the result of ``call`` with a client of that registry, whose token has ``role``."""

    async def run() -> T:
        async with RegistryClient(*registry_access(settings, role)) as client:
            return await call(client)

    return asyncio.run(run())
