"""Steady load from a pod inside the cluster, so that the gateway is reached in the same way on every cluster.

Half of the users keep their connections, the others open one for each request; no
request is ever sent twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Self

from tests.e2e.cluster import CommandFailed, Namespace, python_pod, until

_PROGRAM = """
import asyncio, collections, json, os, time
import httpx

URL, KEY, BODY = os.environ["URL"], os.environ["KEY"], json.loads(os.environ["BODY"])
USERS, PAUSE, JOIN = int(os.environ["USERS"]), float(os.environ["PAUSE"]), float(os.environ["JOIN"])
TLS = httpx.create_ssl_context()  # once, because it costs more than a request
sent, failed, versions, slowest = 0, collections.Counter(), collections.Counter(), 0.0

async def one(client):
    global sent, slowest
    began = time.monotonic()
    try:
        answer = await client.post(URL, json=BODY, headers={"API-Key": KEY})
        if answer.status_code == 200:
            versions[answer.json()["version"]] += 1
        else:
            failed[answer.text[:300]] += 1
    except httpx.HTTPError as err:
        failed[f"{type(err).__name__}: {err}"] += 1
    sent += 1
    slowest = max(slowest, time.monotonic() - began)

async def user(number):
    await asyncio.sleep(JOIN * number / USERS)
    if number % 2:
        async with httpx.AsyncClient(timeout=15, verify=TLS) as client:
            while True:
                await one(client)
                await asyncio.sleep(PAUSE)
    while True:
        async with httpx.AsyncClient(timeout=15, verify=TLS) as client:
            await one(client)
        await asyncio.sleep(PAUSE)

async def main():
    global slowest
    users = [asyncio.create_task(user(i)) for i in range(USERS)]
    while True:
        await asyncio.sleep(0.5)
        line = {"at": time.time(), "sent": sent, "failed": failed, "versions": versions, "slowest": slowest}
        print(json.dumps(line), flush=True)
        slowest = 0.0
        for task in users:
            if task.done():
                task.result()

asyncio.run(main())
"""


@dataclass
class Count:
    """What was answered until ``at``, and the seconds of the slowest answer in the half second before."""

    at: float = 0.0
    sent: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    slowest: float = 0.0

    def since(self, earlier: Count) -> Count:
        """What came between the two."""
        failed = {why: count - earlier.failed.get(why, 0) for why, count in self.failed.items()}
        return Count(
            self.at,
            self.sent - earlier.sent,
            {why: count for why, count in failed.items() if count},
            {name: count - earlier.versions.get(name, 0) for name, count in self.versions.items()},
            self.slowest,
        )


class Load:
    """A pod that sends predictions while the block runs.

    Args:
        users: how many there are; each waits for its answer, then for ``pause`` seconds.
        join: seconds over which they join, one after the other.
        model: whom they ask, with ``body``.
    """

    def __init__(
        self,
        namespace: Namespace,
        image: str,
        url: str,
        key: str,
        *,
        users: int = 8,
        pause: float = 0.2,
        join: float = 0.0,
        model: str = "spam",
        body: dict[str, object] | None = None,
        name: str = "load",
    ) -> None:
        self._namespace = namespace
        self._name = name
        self._last = Count()
        environment = {
            "URL": f"{url}/v1/models/{model}/predict",
            "KEY": key,
            "BODY": json.dumps(body or {"text": "free prize"}),
            "USERS": str(users),
            "PAUSE": str(pause),
            "JOIN": str(join),
        }
        self._pod = python_pod(name, image, _PROGRAM, environment, {"app": "load"})

    def __enter__(self) -> Self:
        self._namespace.kubectl("delete", "pod", self._name, "--ignore-not-found", "--grace-period=0", "--force")
        self._namespace.apply(self._pod)
        until(lambda: self.count().sent > 20, "the load to begin")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._namespace.kubectl("delete", "pod", self._name, "--grace-period=0", "--force")

    def count(self) -> Count:
        """Return the counts so far; if the pod's log cannot be read, the last known ones."""
        try:
            lines = self._namespace.kubectl("logs", self._name, "--tail=1").splitlines()
            if lines:
                self._last = Count(**json.loads(lines[-1]))
        except (CommandFailed, ValueError, TypeError):
            pass  # the pod has not started, or its log is being rotated; the counts only grow
        return self._last

    def history(self) -> list[Count]:
        """Return what came in each half second so far, oldest first."""
        lines = self._namespace.kubectl("logs", self._name).splitlines()
        totals = [Count(), *(Count(**json.loads(line)) for line in lines)]
        return [later.since(earlier) for earlier, later in pairwise(totals)]

    def more(self, requests: int) -> Count:
        """Wait until that many more requests were answered."""
        goal = self.count().sent + requests
        until(lambda: self.count().sent >= goal, f"{requests} more answers")
        return self._last
