"""Gateways without a shared counter each enforce their share."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from penstock_gateway.auth.principal import Principal
from penstock_gateway.limits.peers import follow_peers
from penstock_gateway.limits.token_bucket import TokenBuckets

ANN = Principal("ann", "Ann")


def test_a_share_of_the_limit() -> None:
    """With four gateways each allows a quarter of the burst and refills at a quarter of the rate."""
    buckets = TokenBuckets(8, 8, lambda: 100.0)
    buckets.gateways = 4
    assert [buckets.take(ANN).allowed for _ in range(3)] == [True, True, False]
    assert buckets.take(ANN).retry_after == pytest.approx(0.5)


async def test_the_count_follows_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are as many gateways as the name has different addresses, from one look to the next."""
    assert await counts(monkeypatch, ["10.0.0.1", "10.0.0.2", "10.0.0.2"], ["10.0.0.1"]) == [2, 1]


async def test_the_last_count_outlasts_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the name cannot be resolved, the share stays that of the last count."""
    assert await counts(monkeypatch, ["10.0.0.1", "10.0.0.2"], None, None) == [2, 2, 2]


async def counts(monkeypatch: pytest.MonkeyPatch, *answers: list[str] | None) -> list[int]:
    """``buckets.gateways`` after each answer of the resolver; None cannot be resolved."""
    buckets = TokenBuckets(8, 8)
    seen: list[int] = []
    left = list(answers)
    all_seen = asyncio.Event()

    async def resolve(*_: Any, **__: Any) -> list[Any]:
        if len(left) < len(answers):
            seen.append(buckets.gateways)
        if not left:
            all_seen.set()
            await asyncio.Event().wait()
        found = left.pop(0)
        if found is None:
            raise socket.gaierror("away")
        return [(None, None, None, "", (address, 0)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    following = asyncio.create_task(follow_peers("gateways", buckets, interval=0))
    async with asyncio.timeout(5):
        await all_seen.wait()
    following.cancel()
    return seen
