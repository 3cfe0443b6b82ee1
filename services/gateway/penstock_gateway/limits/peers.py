"""How many gateways share the limits."""

from __future__ import annotations

import asyncio
import socket

import structlog

from penstock_gateway.limits.token_bucket import TokenBuckets

logger = structlog.get_logger()
_INTERVAL = 1.0


async def follow_peers(name: str, buckets: TokenBuckets, interval: float = _INTERVAL) -> None:
    """Keep ``buckets.gateways`` at the number of addresses that ``name`` resolves to, until cancelled.

    A headless Service's name resolves to the addresses of the ready pods. While it cannot be
    resolved, the last count is kept.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as err:
            logger.debug("peers not resolved", name=name, error=str(err))
        else:
            count = len({address[4][0] for address in found})
            if count != buckets.gateways:
                logger.info("gateways that share the limits", count=count)
            buckets.gateways = max(1, count)
        await asyncio.sleep(interval)
