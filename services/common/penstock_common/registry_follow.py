"""Following a registry: every new snapshot, through its outages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Gauge

from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import Snapshot

logger = structlog.get_logger()

REACHABLE = Gauge("penstock_registry_reachable", "1 while the registry answers this process, 0 while it is away.")

_LONG_POLL = 25.0  # seconds
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds


async def follow(
    client: RegistryClient,
    on_snapshot: Callable[[Snapshot], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Call ``on_snapshot`` with the present snapshot and then with each new one, until cancelled.

    If the registry or ``on_snapshot`` fails, the same snapshot is tried again after a pause, which
    doubles from 0.2 s up to 5 s and is shortened by a random part of up to one half. The caller
    keeps its last good state in the meantime. An outage is logged when it begins and when it ends.
    """
    cursor = ""
    failures = 0
    while True:
        try:
            snapshot = await client.watch(cursor, _LONG_POLL if cursor else 0.0)
            if snapshot.cursor != cursor:
                await on_snapshot(snapshot)
                cursor = snapshot.cursor
            if failures:
                logger.info("the registry is back", after_failures=failures)
            failures = 0
            REACHABLE.set(1)
        except Exception as err:
            if not failures:
                logger.warning("the registry cannot be followed; keeping the last good state", error=str(err))
            failures += 1
            REACHABLE.set(0)
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures - 1, 5))
            await sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)
