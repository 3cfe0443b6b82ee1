"""Batches in a new database and folder, whose requests are answered by the test."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from penstock_common.errors import PenstockError
from penstock_common.object_store.folder_store import FolderStore
from penstock_gateway.auth.key_admin import KeyAdmin
from penstock_gateway.batches.batch_bounds import BatchBounds
from penstock_gateway.batches.batch_record import Batch, Order
from penstock_gateway.batches.batch_run import BatchRun
from penstock_gateway.batches.batches import Batches
from penstock_gateway.batches.line_calls import LineCalls
from penstock_gateway.database.threads import DatabaseThreads
from penstock_gateway.files.contents import Contents
from penstock_gateway.files.file_bounds import FileBounds
from penstock_gateway.files.files import Files

CHAT = "/v1/chat/completions"
DAY = 86400.0


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Route:
    """An application that answers each request with its body, or as ``answer`` says.

    Attributes:
        asked: how often each ``content`` was asked.
        answer: status, headers and body for a ``content``; it may wait.
    """

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.keys: set[bytes] = set()
        self.most_at_once = self._at_once = 0

    async def answer(self, content: str) -> tuple[int, list[tuple[bytes, bytes]], Any]:
        return 200, [], {"echo": content}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        content = json.loads((await receive())["body"])["content"]
        self.asked[content] += 1
        self.keys.add(dict(scope["headers"])[b"penstock-key-id"])
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(0)
            status, headers, body = await self.answer(content)
        finally:
            self._at_once -= 1
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class Working:
    """The parts of a batch service, and what a test asks of them.

    Args:
        owner: the name of the gateway.
    """

    def __init__(self, url: str, root: Path, owner: str = "one", clock: Callable[[], float] = time.time) -> None:
        database = DatabaseThreads(url, "batches", lambda: PenstockError(503, "file-store-away", "away"))
        self.root = root
        self.route = Route()
        self.contents = Contents(FolderStore(root))
        self.files = Files(database, self.contents, FileBounds(30, 10_000_000, 20_000_000, 100), clock)
        self.bounds = BatchBounds(30, 1000, 10_000, 50, 2, 3.0)
        self.batches = Batches(database, self.bounds, owner, clock)
        self.calls = LineCalls({CHAT: self.route}, 8)

    async def upload(self, data: bytes, principal: str = "ann") -> str:
        file_id, size = await self.files.receive(principal, chunked(data), 0)
        await self.files.publish(file_id, principal, size, "requests.jsonl", "batch", None)
        return file_id

    async def create(self, data: bytes, principal: str = "ann", *, window: float = DAY) -> Batch:
        order = Order(CHAT, await self.upload(data, principal), "24h", time.time() + window)
        return await self.batches.create(principal, order)

    def run(self, batch: Batch, turn_is_over: Callable[[], bool] = lambda: False) -> BatchRun:
        return BatchRun(batch, self.batches, self.files, self.contents, self.calls, self.bounds, turn_is_over)

    async def work(self, batch: Batch, turn_is_over: Callable[[], bool] = lambda: False) -> Batch:
        """Claim and work until nobody has anything to do; the batch as it is then."""
        while claimed := await self.batches.claim(()):
            await self.run(claimed, turn_is_over).work()
            await self.batches.release(claimed, 0.0)
        return await self.batches.show(batch.principal, batch.id)

    async def claim(self) -> Batch:
        claimed = await self.batches.claim(())
        assert claimed is not None
        return claimed

    async def in_progress(self, batch: Batch) -> Batch:
        """Claim and validate a batch, and claim it again."""
        claimed = await self.claim()
        await self.run(claimed).work()
        await self.batches.release(claimed, 0.0)
        return await self.claim()

    async def lines(self, file_id: str | None, principal: str = "ann") -> list[Any]:
        assert file_id is not None
        record = await self.files.show(principal, file_id)
        data = b"".join([chunk async for chunk in self.files.read(record)])
        assert len(data) == record.size
        return [json.loads(line) for line in data.splitlines()]

    def parts(self) -> list[str]:
        return sorted(path.name for path in self.root.glob("batches/*/*"))


def working(url: str, root: Path, **more: Any) -> Working:
    """In a new database, made as an operator does it: with the first key."""
    KeyAdmin(url).create("first")
    return Working(url, root, **more)


def requests(count: int, **changes: Any) -> bytes:
    """A file of so many requests, with the contents "0", "1", ..."""
    return b"".join(request(i, **changes) for i in range(count))


def request(i: int, **changes: Any) -> bytes:
    members = {"custom_id": f"id-{i}", "method": "POST", "url": CHAT, "body": {"content": str(i)}} | changes
    return json.dumps(members).encode() + b"\n"


async def chunked(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
