"""Gateways without a shared counter each enforce their share."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.local import Limiter
from penstock_gateway.limits.peers import follow_peers

ANN = Principal("ann", "Ann")


def test_a_share_of_the_limit() -> None:
    """With four gateways each allows a quarter of the burst and refills at a quarter of the rate."""
    limiter = Limiter(8, 8, lambda: 100.0)
    limiter.gateways = 4
    assert [limiter.take(ANN).allowed for _ in range(3)] == [True, True, False]
    assert limiter.take(ANN).retry_after == pytest.approx(0.5)


async def test_the_count_follows_the_name_and_outlasts_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many gateways as the name has addresses; a name that cannot be resolved leaves the last count."""
    answers: list[list[str]] = [["10.0.0.1", "10.0.0.2", "10.0.0.2"], [], ["10.0.0.1"]]

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if not found:
            raise socket.gaierror("away")
        return [(None, None, None, "", (address, 0)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    limiter = Limiter(8, 8)
    seen: list[int] = []
    following = asyncio.create_task(follow_peers("gateways", limiter, interval=0))
    async with asyncio.timeout(5):
        while seen[-1:] != [1] or 2 not in seen:
            await asyncio.sleep(0)
            seen.append(limiter.gateways)
    following.cancel()
    assert sorted(set(seen)) in ([1, 2], [2, 1])
