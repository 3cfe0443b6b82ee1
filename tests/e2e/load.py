"""Steady load from a pod inside the cluster, so that the gateway is reached in the same way on every cluster.

Half of the users keep their connections, the others open one for each request; no
request is ever sent twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.e2e.cluster import CommandFailed, Namespace, python_pod, until

_PROGRAM = """
import asyncio, collections, json, os, time
import httpx

URL, KEY, USERS, PAUSE = os.environ["URL"], os.environ["KEY"], int(os.environ["USERS"]), float(os.environ["PAUSE"])
sent, failed, versions = 0, collections.Counter(), collections.Counter()

async def one(client):
    global sent
    try:
        answer = await client.post(f"{URL}/v1/models/spam/predict", json={"text": "free prize"}, headers={"API-Key": KEY})
        if answer.status_code == 200:
            versions[answer.json()["version"]] += 1
        else:
            failed[answer.text[:300]] += 1
    except httpx.HTTPError as err:
        failed[f"{type(err).__name__}: {err}"] += 1
    sent += 1

async def user(keeps):
    if keeps:
        async with httpx.AsyncClient(timeout=15) as client:
            while True:
                await one(client)
                await asyncio.sleep(PAUSE)
    while True:
        async with httpx.AsyncClient(timeout=15) as client:
            await one(client)
        await asyncio.sleep(PAUSE)

async def main():
    users = [asyncio.create_task(user(i % 2)) for i in range(USERS)]
    while True:
        await asyncio.sleep(0.5)
        print(json.dumps({"at": time.time(), "sent": sent, "failed": failed, "versions": versions}), flush=True)
        for task in users:
            if task.done():
                task.result()

asyncio.run(main())
"""


@dataclass
class Count:
    at: float = 0.0
    sent: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)


class Load:
    """A pod that sends predictions while the block runs.

    Args:
        users: how many there are; each waits for its answer, then for ``pause`` seconds.
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
        name: str = "load",
    ) -> None:
        self._namespace = namespace
        self._name = name
        self._last = Count()
        environment = {"URL": url, "KEY": key, "USERS": str(users), "PAUSE": str(pause)}
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

    def more(self, requests: int) -> Count:
        """Wait until that many more requests were answered."""
        goal = self.count().sent + requests
        until(lambda: self.count().sent >= goal, f"{requests} more answers")
        return self._last
