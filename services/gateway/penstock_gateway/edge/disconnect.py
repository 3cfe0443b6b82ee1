"""Clients that hang up before they are answered.

ASGI reports a disconnect only to whoever awaits ``receive``. A task of its own for
each request to do that would cost more than most requests do, so a request is
watched only once it has waited for a while; a quick answer pays for a dictionary
entry.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from penstock_gateway.edge.call import Receive

R = TypeVar("R")


class DisconnectWatch:
    """Cancels the work for a client that has gone.

    Args:
        after: seconds between looks; a request is watched from its first or second look on.
    """

    def __init__(self, after: float = 0.1) -> None:
        self._after = after
        self._fresh: dict[asyncio.Future[Any], tuple[asyncio.Task[Any], Receive]] = {}
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._watchers: set[asyncio.Task[None]] = set()

    async def wait(self, future: asyncio.Future[R], receive: Receive) -> R:
        """Await ``future``; if the client goes away meanwhile, it is cancelled, and the calling task with it."""
        task = asyncio.current_task()
        assert task is not None
        self._fresh[future] = (task, receive)
        try:
            return await future
        finally:
            self._fresh.pop(future, None)

    @contextlib.contextmanager
    def cancelling_on_disconnect(self, receive: Receive) -> Iterator[None]:
        """Cancel the calling task if the client goes away before the block ends."""
        task = asyncio.current_task()
        assert task is not None
        watcher = self._start(self._cancel_on_disconnect(task, task, receive))
        try:
            yield
        finally:
            watcher.cancel()

    def cancelled(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether this watch cancelled ``task``; asked once by the task itself."""
        if task not in self._cancelled:
            return False
        self._cancelled.discard(task)
        return True

    async def run(self) -> None:
        """Look at the waiting requests every ``after`` seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._after)
            waiting, self._fresh = self._fresh, {}
            for future, (task, receive) in waiting.items():
                if not future.done():
                    watcher = self._start(self._cancel_on_disconnect(future, task, receive))
                    future.add_done_callback(_canceller(watcher))

    def _start(self, watch: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        watcher: asyncio.Task[None] = asyncio.create_task(watch)
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return watcher

    async def _cancel_on_disconnect(self, work: asyncio.Future[Any], task: asyncio.Task[Any], receive: Receive) -> None:
        """Cancel ``work``, which ``task`` awaits or is, once the client is gone."""
        with contextlib.suppress(asyncio.CancelledError):
            while (await receive())["type"] != "http.disconnect":
                pass
            if not work.done():
                self._cancelled.add(task)
                work.cancel()


def _canceller(task: asyncio.Task[None]) -> Callable[[asyncio.Future[Any]], None]:
    def cancel(_: asyncio.Future[Any]) -> None:
        task.cancel()

    return cancel
