"""How many gateways share the limits."""

from __future__ import annotations

import asyncio
import socket

import structlog

from penstock_gateway.limits.local import Limiter

log = structlog.get_logger()
_INTERVAL = 1.0


async def follow_peers(name: str, limiter: Limiter, interval: float = _INTERVAL) -> None:
    """Keep ``limiter.gateways`` at the number of addresses that ``name`` resolves to, for ever.

    A headless Service's name gives the ready pods' addresses. Where it cannot be
    resolved the last count stays.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as err:
            log.debug("peers not resolved", name=name, error=str(err))
        else:
            count = len({address[4][0] for address in found})
            if count != limiter.gateways:
                log.info("gateways that share the limits", count=count)
            limiter.gateways = max(1, count)
        await asyncio.sleep(interval)
