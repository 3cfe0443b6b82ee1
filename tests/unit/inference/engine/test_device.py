"""A device's slots go to the version that has used the least time; no time passes here but that of a clock of ours."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from penstock_common.manifest import Manifest, Priority, Resources
from penstock_inference.engine import pod_devices
from penstock_inference.engine.device import WEIGHTS, Device, Share, Turn
from penstock_inference.engine.pod_devices import PodDevices, find_devices
from penstock_inference.metrics import DEVICE_SECONDS, DEVICE_WAIT_SECONDS, VersionMetrics


class Pod:
    """One device with a clock that only runs move."""

    def __init__(self, slots: int = 1) -> None:
        self.now = 0.0
        self.runs: list[str] = []
        self.device = Device(slots, lambda: self.now)

    def turn(self, share: Share, name: str = "m") -> Turn:
        return Turn(share, VersionMetrics(name, 1))

    async def work(self, name: str, share: Share, seconds: float, runs: int) -> None:
        """Run one after the other, as a version for which there is always work."""
        turn = self.turn(share, name)
        for _ in range(runs):
            await begin(turn)
            self.runs.append(name)
            await settled()  # the others ask for the device meanwhile
            self.now += seconds
            turn.end()
        turn.close()


async def begin(turn: Turn) -> None:
    if not turn.begins():
        await turn.wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_two_that_always_have_work_get_the_same_time() -> None:
    """One of them takes a hundred times as long for a run: it runs once while the other runs a hundred times."""
    pod = Pod()
    light = pod.work("light", pod.device.share(), 0.001, 500)
    heavy = pod.work("heavy", pod.device.share(), 0.1, 5)
    await asyncio.gather(light, heavy)
    gaps = "".join(name[0] for name in pod.runs).split("h")
    assert [len(gap) for gap in gaps[1:-1]] == pytest.approx([100] * 4, abs=1)


@pytest.mark.parametrize(("priority", "ratio"), [(Priority.HIGH, 4), (Priority.NORMAL, 1), (Priority.LOW, 0.25)])
async def test_time_is_shared_by_priority(priority: Priority, ratio: float) -> None:
    """Beside one of normal priority; none starves."""
    pod = Pod()
    other = pod.work("other", pod.device.share(WEIGHTS[priority]), 1.0, 400)
    normal = pod.work("normal", pod.device.share(WEIGHTS[Priority.NORMAL]), 1.0, 400)
    await asyncio.gather(other, normal)
    counts = Counter(pod.runs[:300])
    assert counts["other"] == pytest.approx(ratio * counts["normal"], abs=4)


async def test_one_that_comes_waits_for_the_run_that_is_under_way_only() -> None:
    """Whatever the others have used before, and however many of them wait."""
    pod = Pod()
    heavy = [asyncio.create_task(pod.work(f"heavy{i}", pod.device.share(), 1 + i / 10, 20)) for i in range(3)]
    while len(pod.runs) < 10:
        await asyncio.sleep(0)
    light = asyncio.create_task(pod.work("light", pod.device.share(), 0.001, 1))
    await light
    assert pod.runs.index("light") <= 11
    await asyncio.gather(*heavy)


async def test_one_that_was_idle_has_saved_nothing() -> None:
    """After a long pause it gets half of the time, and not all until it has caught up."""
    pod = Pod()
    idle = pod.device.share()
    await pod.work("idle", idle, 1.0, 1)
    busy = asyncio.create_task(pod.work("busy", pod.device.share(), 1.0, 200))
    while len(pod.runs) < 100:
        await asyncio.sleep(0)
    back = asyncio.create_task(pod.work("idle", idle, 1.0, 50))
    await asyncio.gather(back, busy)
    assert Counter(pod.runs[102:142]) == {"idle": 20, "busy": 20}


async def test_a_lone_version_never_waits() -> None:
    """It begins without a turn of the event loop, and keeps its slots between runs."""
    pod = Pod()
    turn = pod.turn(pod.device.share())
    for _ in range(3):
        assert turn.begins() and pod.device._free == 0
        turn.end()
    turn.close()
    assert pod.device._free == 1


async def test_slots_are_idle_only_if_nobody_waits_for_them() -> None:
    """As many runs as there are slots, and the next one as soon as one ends."""
    pod = Pod(slots=2)
    turns = [pod.turn(pod.device.share()) for _ in range(3)]
    begun = [asyncio.create_task(begin(turn)) for turn in turns]
    await settled()
    assert [task.done() for task in begun] == [True, True, False]
    turns[0].end()
    turns[0].close()
    await settled()
    assert begun[2].done()
    for turn in turns[1:]:
        turn.close()
    assert pod.device._free == 2


async def test_a_wide_run_is_not_passed_by_narrow_ones() -> None:
    """It waits until enough slots are free; those that come later wait behind it."""
    pod = Pod(slots=2)
    narrow = [pod.turn(pod.device.share()) for _ in range(3)]
    wide = pod.turn(pod.device.share(slots=2))
    await begin(narrow[0])
    begun = [asyncio.create_task(begin(wide))]
    await settled()
    begun.append(asyncio.create_task(begin(narrow[1])))
    await settled()
    assert not begun[0].done() and not begun[1].done()
    narrow[0].close()
    await settled()
    assert begun[0].done() and not begun[1].done()
    pod.now += 1
    wide.end()
    await settled()
    assert begun[1].done()


@pytest.mark.parametrize("when", ["while it waits", "in the moment in which it gets them"])
async def test_one_that_gives_up_leaves_its_slots_to_the_next(when: str) -> None:
    """No slot is lost."""
    pod = Pod()
    first, second, third = [pod.turn(pod.device.share()) for _ in range(3)]
    await begin(first)
    begun = [asyncio.create_task(begin(turn)) for turn in (second, third)]
    await settled()
    if when == "while it waits":
        begun[0].cancel()
        await settled()
        first.close()
    else:
        first.close()
        begun[0].cancel()
    await settled()
    assert begun[0].cancelled() and begun[1].done()
    third.close()
    assert pod.device._free == 1


async def test_the_time_of_the_device_and_the_wait_for_it_are_counted() -> None:
    """By model; a run of two cores counts twice."""
    pod = Pod(slots=2)
    used = [DEVICE_SECONDS.labels(name)._value.get() for name in ("wide", "late")]
    waited = DEVICE_WAIT_SECONDS.labels("late")._value.get()
    wide, late = pod.turn(pod.device.share(slots=2), "wide"), pod.turn(pod.device.share(), "late")
    await begin(wide)
    begun = asyncio.create_task(begin(late))
    await settled()
    pod.now += 3
    wide.end()
    await begun
    pod.now += 1
    late.end()
    assert [DEVICE_SECONDS.labels(name)._value.get() for name in ("wide", "late")] == [used[0] + 6, used[1] + 1]
    assert DEVICE_WAIT_SECONDS.labels("late")._value.get() == waited + 3


def test_a_version_gets_what_its_manifest_says(regression: Manifest) -> None:
    """Its threads, at most the pod's cores, each with a slot of the CPU; one slot of the GPU if it runs there."""
    devices = PodDevices(cores=4, gpu_runs=3, threads=2)
    assert devices.share(regression, on_gpu=False).slots == devices.threads(regression) == 2
    regression.resources = Resources(threads=16, priority=Priority.HIGH)
    share = devices.share(regression, on_gpu=False)
    assert (share.slots, share.weight) == (4, 4.0) and devices.threads(regression) == 4
    other = devices.share(regression, on_gpu=True)
    assert (other.device.slots, other.slots, other.weight) == (3, 1, 4.0)


@pytest.mark.parametrize(("limit", "cores"), [(1.5, 2), (0.2, 1), (None, 64), (99.0, 64)])
def test_cores_are_those_of_the_container(limit: float | None, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A started core counts; without a limit, those that the process may run on; a setting before all."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64))
    monkeypatch.setattr(pod_devices, "cpu_limit", lambda: limit)
    assert find_devices(cores=0, gpu_runs=1, threads=1)._cpu.slots == cores
    assert find_devices(cores=3, gpu_runs=1, threads=1)._cpu.slots == 3
