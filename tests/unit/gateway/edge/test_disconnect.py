"""Clients that hang up: their work is cancelled, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from penstock_gateway.edge.disconnect import DisconnectWatch

T = TypeVar("T")


class Client:
    """The receiving half of a connection.

    Args:
        messages: what arrives before the client leaves.
    """

    def __init__(self, *messages: str) -> None:
        self.gone = asyncio.Event()
        self.watched = asyncio.Event()
        self.left_alone = asyncio.Event()  # nobody waits for its messages any more
        self.messages = list(messages)

    async def receive(self) -> dict[str, Any]:
        self.watched.set()
        if self.messages:
            return {"type": self.messages.pop(0)}
        try:
            await self.gone.wait()
        finally:
            self.left_alone.set()
        return {"type": "http.disconnect"}


@pytest.fixture
async def watch() -> AsyncIterator[DisconnectWatch]:
    """A watch that looks at every turn of the event loop."""
    watch = DisconnectWatch(after=0)
    looking = asyncio.create_task(watch.run())
    yield watch
    looking.cancel()


async def soon(event: Awaitable[T]) -> T:
    """Await what must happen; that it never does fails the test."""
    return await asyncio.wait_for(event, 5)


def pending() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def block(watch: DisconnectWatch, client: Client, work: asyncio.Future[str]) -> str:
    with watch.cancelling_on_disconnect(client.receive):
        return await work


async def wait(watch: DisconnectWatch, client: Client, work: asyncio.Future[str]) -> str:
    return await watch.wait(work, client.receive)


Way = Callable[[DisconnectWatch, Client, "asyncio.Future[str]"], Coroutine[Any, Any, str]]
BOTH = pytest.mark.parametrize("way", [wait, block])


@BOTH
async def test_a_client_that_stays_is_answered(watch: DisconnectWatch, way: Way) -> None:
    """What the work gives is returned, also after the client was watched."""
    client, work = Client(), pending()
    task = asyncio.create_task(way(watch, client, work))
    await soon(client.watched.wait())
    work.set_result("answer")
    assert await soon(task) == "answer"
    assert not watch.cancelled(task)


@BOTH
async def test_a_client_that_leaves_cancels_its_work(watch: DisconnectWatch, way: Way) -> None:
    """The work ends, and the task that awaits it."""
    client, work = Client(), pending()
    task = asyncio.create_task(way(watch, client, work))
    await soon(client.watched.wait())
    client.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert work.cancelled()


@BOTH
async def test_cancelled_is_true_once(watch: DisconnectWatch, way: Way) -> None:
    """A task learns that it was the disconnect which cancelled it; asking again it does not, so nothing is kept."""
    client = Client()
    task = asyncio.create_task(way(watch, client, pending()))
    await soon(client.watched.wait())
    client.gone.set()
    await soon(asyncio.wait([task]))
    assert watch.cancelled(task)
    assert not watch.cancelled(task)


@BOTH
async def test_a_task_that_others_cancel_was_not_disconnected(watch: DisconnectWatch, way: Way) -> None:
    """A server that stops cancels its requests: their clients are still there."""
    client, work = Client(), pending()
    task = asyncio.create_task(way(watch, client, work))
    await soon(client.watched.wait())
    task.cancel()
    await soon(asyncio.wait([task]))
    assert task.cancelled() and work.cancelled()
    assert not watch.cancelled(task)


@BOTH
async def test_a_failure_reaches_the_caller(watch: DisconnectWatch, way: Way) -> None:
    """What the work raises is not mistaken for a disconnect."""
    client, work = Client(), pending()
    task = asyncio.create_task(way(watch, client, work))
    await soon(client.watched.wait())
    work.set_exception(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await soon(task)
    assert not watch.cancelled(task)


@BOTH
async def test_a_watcher_ends_with_its_request(watch: DisconnectWatch, way: Way) -> None:
    """Once the answer is there, nobody receives from the connection: its next request is the server's to read."""
    client, work = Client(), pending()
    task = asyncio.create_task(way(watch, client, work))
    await soon(client.watched.wait())
    work.set_result("answer")
    await soon(task)
    await soon(client.left_alone.wait())
    assert not client.gone.is_set()


@BOTH
async def test_only_a_disconnect_cancels(watch: DisconnectWatch, way: Way) -> None:
    """Other messages of the connection are passed over."""
    client, work = Client("http.request", "http.request"), pending()
    task = asyncio.create_task(way(watch, client, work))
    await soon(client.watched.wait())
    while client.messages and not work.done():
        await asyncio.sleep(0)
    assert not work.done()
    client.gone.set()
    await soon(asyncio.wait([task]))
    assert watch.cancelled(task)


async def test_a_quick_answer_is_never_watched(watch: DisconnectWatch) -> None:
    """A request that is answered before the next look costs no task, while one that waits beside it is watched."""
    quick, slow = Client(), Client()
    answer = pending()
    answer.set_result("at once")
    waiting = asyncio.create_task(wait(watch, slow, pending()))
    assert await soon(wait(watch, quick, answer)) == "at once"
    await soon(slow.watched.wait())
    assert not quick.watched.is_set()
    waiting.cancel()


async def test_an_answer_that_its_task_has_yet_to_fetch_is_not_watched() -> None:
    """The look may come between the answer and the turn in which the request goes on."""
    watch, client, work = DisconnectWatch(after=0), Client(), pending()
    task = asyncio.create_task(wait(watch, client, work))
    looking = asyncio.create_task(watch.run())
    await asyncio.sleep(0)  # both have begun: the look is due in the next turn
    work.set_result("answer")
    assert await soon(task) == "answer"
    await asyncio.sleep(0)
    assert not client.watched.is_set()
    looking.cancel()


async def test_a_request_is_not_watched_before_the_first_look() -> None:
    """As long as the watch does not look, a waiting request has no watcher."""
    watch, client, work = DisconnectWatch(), Client(), pending()
    task = asyncio.create_task(wait(watch, client, work))
    for _ in range(10):
        await asyncio.sleep(0)
    work.set_result("answer")
    assert await soon(task) == "answer"
    assert not client.watched.is_set()


async def test_who_leaves_takes_nobody_along(watch: DisconnectWatch) -> None:
    """Of two requests only the one whose client left is cancelled."""
    leaving, staying = Client(), Client()
    work = pending()
    left = asyncio.create_task(wait(watch, leaving, pending()))
    stayed = asyncio.create_task(wait(watch, staying, work))
    await soon(asyncio.gather(leaving.watched.wait(), staying.watched.wait()))
    leaving.gone.set()
    await soon(asyncio.wait([left]))
    work.set_result("answer")
    assert await soon(stayed) == "answer"
    assert (watch.cancelled(left), watch.cancelled(stayed)) == (True, False)
