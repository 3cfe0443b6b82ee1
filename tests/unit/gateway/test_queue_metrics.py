"""What Prometheus is told of the gateway's queues."""

from __future__ import annotations

import asyncio
import time
from typing import cast

from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.queue_metrics import Queues


class Routes:
    """A catalog of one route."""

    model, version = "spam", "3"

    def __init__(self, coalescer: Coalescer[int, int]) -> None:
        self.coalescer = coalescer

    def routes(self) -> list[Routes]:
        return [self]


async def test_rows_that_wait_and_messages_under_way_are_told() -> None:
    """With one message under way and rows behind it, both series have their numbers, by model and version."""
    go = asyncio.Event()

    async def send(items: object, deadline: float) -> list[int]:
        await go.wait()
        return [0]

    c: Coalescer[int, int] = Coalescer(send, blames_item=lambda _: False, max_outstanding=1)
    first = c.submit(1, 1, time.monotonic() + 30)
    while not c.outstanding:
        await asyncio.sleep(0)
    second = c.submit(2, 4, time.monotonic() + 30)
    samples = [s for family in Queues(cast(Catalog, Routes(c))).collect() for s in family.samples]
    assert [(s.name, s.labels, s.value) for s in samples] == [
        ("penstock_gateway_queue_rows", {"model": "spam", "version": "3"}, 4),
        ("penstock_gateway_outstanding_calls", {"model": "spam", "version": "3"}, 1),
    ]
    go.set()
    await asyncio.gather(first, second)
