"""Shares a device between the versions on a pod: fairly by time, with nothing idle while a run that fits waits.

A run takes slots of its device: on the CPU as many as its model has threads, on a GPU one. Whenever slots become free,
the next run is that of the version which has used the least time for its weight (start-time fair queueing: Goyal, Vin
and Cheng, SIGCOMM 1996). A version that was idle begins at the time of those that run: it has saved no credit, and it
waits for the runs that are under way and for no later one of a version that always has work. Runs are not interrupted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from penstock_common.manifest import Priority
from penstock_inference.metrics import VersionMetrics

#: The time that a version gets beside others that always have work, in relation to theirs.
WEIGHTS = {Priority.LOW: 0.25, Priority.NORMAL: 1.0, Priority.HIGH: 4.0}


class Device:
    """Some slots. All methods are called on one event loop.

    Args:
        slots: how many there are, at least one.
        clock: in seconds.
    """

    def __init__(self, slots: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.slots = slots
        self.clock = clock
        self._free = slots
        self._now = 0.0  # in virtual time: the start of the newest run
        self._waiting: list[_Waiting] = []  # in the order in which they came

    def share(self, weight: float = 1.0, slots: int = 1) -> Share:
        """Return the share of a version whose runs take some slots, all of the device at most."""
        return Share(self, weight, min(slots, self.slots))

    def take(self, share: Share) -> bool:
        """Take a share's slots if they are free and nobody waits; return whether that is so."""
        if share.time < self._now:
            share.time = self._now
        if self._waiting or share.slots > self._free:
            return False
        self._begin(share)
        return True

    async def wait(self, share: Share) -> None:
        """Take a share's slots when it is next."""
        waiting = _Waiting(share, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            await waiting.slots
        except asyncio.CancelledError:
            if waiting.slots.cancelled():
                self._waiting.remove(waiting)
                self._admit()  # smaller ones may have waited behind it
            else:  # it has just got them
                self.give_back(share)
            raise

    def give_back(self, share: Share) -> None:
        """Give a share's slots to whoever is next."""
        self._free += share.slots
        self._admit()

    def pass_on(self, share: Share) -> bool:
        """Give a share's slots back if a version that has had less time waits for them; return whether that is so."""
        if self._waiting and self._next().share.time < share.time:
            self.give_back(share)
            return True
        if share.time > self._now:
            self._now = share.time
        return False

    def _next(self) -> _Waiting:
        return min(self._waiting, key=lambda waiting: waiting.share.time)

    def _admit(self) -> None:
        """Let runs begin, in their order; one that needs more slots than are free is not passed by smaller ones."""
        while self._waiting and (waiting := self._next()).share.slots <= self._free:
            self._waiting.remove(waiting)
            self._begin(waiting.share)
            waiting.slots.set_result(None)

    def _begin(self, share: Share) -> None:
        self._free -= share.slots
        if share.time > self._now:
            self._now = share.time


@dataclass(eq=False, slots=True)
class Share:
    """The share that one version has of a device.

    Attributes:
        weight: how much of the time it gets, in relation to others'.
        slots: that each of its runs takes.
        time: the slots' seconds that it has used, divided by its weight; the device's virtual time if it was idle.
    """

    device: Device
    weight: float
    slots: int
    time: float = 0.0


class Turn:
    """The slots for runs one after the other, kept between two of them unless a version that has had less time waits.

    Args:
        metrics: of the version.

    Attributes:
        asked: when the newest run asked for its slots, by the device's clock.
    """

    __slots__ = ("_began", "_device", "_holds_slots", "_metrics", "_share", "asked")

    def __init__(self, share: Share, metrics: VersionMetrics) -> None:
        self._share = share
        self._device = share.device
        self._metrics = metrics
        self._holds_slots = False
        self.asked = self._began = 0.0

    def begins(self) -> bool:
        """Return whether a run may begin at once; else ``wait``."""
        self.asked = self._began = self._device.clock()
        if not self._holds_slots:
            self._holds_slots = self._device.take(self._share)
        return self._holds_slots

    async def wait(self) -> None:
        """Wait until the run may begin that could not at once."""
        await self._device.wait(self._share)
        self._holds_slots = True
        self._began = self._device.clock()
        self._metrics.device_wait.inc(self._began - self.asked)

    def end(self) -> None:
        """Take note that the run has ended."""
        used = (self._device.clock() - self._began) * self._share.slots
        self._share.time += used / self._share.weight
        self._metrics.device_seconds.inc(used)
        self._holds_slots = not self._device.pass_on(self._share)

    def close(self) -> None:
        """Give the slots back: no run follows."""
        if self._holds_slots:
            self._device.give_back(self._share)
            self._holds_slots = False


class _Waiting(NamedTuple):
    share: Share
    slots: asyncio.Future[None]
