"""Clients that hang up before they are answered.

ASGI tells of a disconnect only to who awaits ``receive``. Doing that in a task
of its own for each request would cost more than most requests do, so only those
are watched that have waited for a while; quick answers pay for a dictionary
entry.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

R = TypeVar("R")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class DisconnectWatch:
    """Cancels what is awaited for a client that has gone.

    Args:
        after: seconds between looks; a request is watched from its first or second look on.
    """

    def __init__(self, after: float = 0.1) -> None:
        self._after = after
        self._fresh: dict[asyncio.Future[Any], tuple[asyncio.Task[Any], Receive]] = {}
        self._gone: set[asyncio.Task[Any]] = set()
        self._watchers: set[asyncio.Task[None]] = set()

    async def wait(self, future: asyncio.Future[R], receive: Receive) -> R:
        """Await ``future``; the calling task is cancelled with it if the client goes away meanwhile."""
        task = asyncio.current_task()
        assert task is not None
        self._fresh[future] = (task, receive)
        try:
            return await future
        finally:
            self._fresh.pop(future, None)

    def took(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether it was this watch that cancelled ``task``."""
        if task not in self._gone:
            return False
        self._gone.discard(task)
        return True

    async def run(self) -> None:
        """Look after the waiting requests, for ever."""
        while True:
            await asyncio.sleep(self._after)
            waiting, self._fresh = self._fresh, {}
            for future, (task, receive) in waiting.items():
                if not future.done():
                    watcher = asyncio.create_task(self._watch(future, task, receive))
                    self._watchers.add(watcher)
                    watcher.add_done_callback(self._watchers.discard)
                    future.add_done_callback(_canceller(watcher))

    async def _watch(self, future: asyncio.Future[Any], task: asyncio.Task[Any], receive: Receive) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while (await receive())["type"] != "http.disconnect":
                pass
            if not future.done():
                self._gone.add(task)
                future.cancel()


def _canceller(task: asyncio.Task[None]) -> Callable[[asyncio.Future[Any]], None]:
    def cancel(_: asyncio.Future[Any]) -> None:
        task.cancel()

    return cancel
