"""What a pod serves: versions arrive loaded and warm, leave late, and fail alone."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Resources, Task
from penstock_common.registry_models import AliasTarget, FileRef, Model, Snapshot, Version
from penstock_inference.engine.message import Message
from penstock_inference.engine.pod_devices import PodDevices
from penstock_inference.engine.pod_refusal import PodRefusalError
from penstock_inference.metrics import GPU_BYTES, LOADED, RESTARTS
from penstock_inference.runners.memory import Memory
from penstock_inference.versions import fetch_and_load
from penstock_inference.versions import reconciler as reconciler_module
from penstock_inference.versions.artifact_cache import ArtifactCache
from penstock_inference.versions.desired import DesiredVersions
from penstock_inference.versions.fetch_and_load import VersionLoader
from penstock_inference.versions.hosted import HostedVersion, State
from penstock_inference.versions.load_gate import LoadGate
from penstock_inference.versions.lookup import VersionLookup
from penstock_inference.versions.memory_needs import MemoryNeeds
from penstock_inference.versions.reconciler import Reconciler
from tests.unit.inference.versions.fake_forker import FakeForker

MB = 2**20
#: What a process of ``with_instances`` needs.
NEED_MB = 500
MANIFEST = Manifest(
    format=Format.TORCHSCRIPT,
    file="model.pt",
    task=Task.REGRESSION,
    inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3])],
    outputs=[Output("y", "FP32")],
)


class Registry:
    """Gives out one artifact for all versions, except those that are broken."""

    def __init__(self) -> None:
        self.built = 1
        self.broken: set[tuple[str, int]] = set()
        self.fetched: list[tuple[str, int]] = []
        self.now = snapshot()

    async def watch(self) -> Snapshot:
        return self.now

    async def fetch(self, version: Version, folder: Path) -> None:
        self.fetched.append((version.model, version.version))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "label").write_bytes(label(version.model, version.version, self.built))
        (folder / MANIFEST.file).write_bytes(b"a model")
        if (version.model, version.version) in self.broken:
            (folder / MANIFEST.file).write_bytes(b"no model")
            (folder / "label").unlink()  # so that the cache fetches it again


def label(name: str, number: int, built: int) -> bytes:
    """What tells the artifact of a version from all others."""
    return f"{name} {number} {built}".encode()


def snapshot(built: int = 1, before: tuple[int, ...] = (), **aliases: int) -> Snapshot:
    """Models with versions 1 to 3 and ``production`` at the given one, in a registry built for the n-th time.

    Args:
        before: what ``production`` pointed at before, newest first.
    """
    models = []
    for name, number in aliases.items():
        versions = {}
        for n in (1, 2, 3):
            content = label(name, n, built)
            files = [FileRef("label", len(content), hashlib.sha256(content).hexdigest())]
            versions[n] = Version(name, n, MANIFEST, files, "now")
        earlier = {"production": [[AliasTarget(n)] for n in before]}
        models.append(Model(name, 1, versions, {"production": [AliasTarget(number)]}, earlier=earlier))
    return Snapshot(str(aliases), models)


@pytest.fixture
async def registry() -> Registry:
    return Registry()


class FakeMemory:
    """A gigabyte, of which 128 MB are the server's."""

    def __init__(self) -> None:
        self.taken = 0
        self.refused = 0

    def take(self, megabytes: int) -> None:
        self.taken += megabytes

    def read(self) -> Memory:
        available = (1024 - self.taken) * MB
        self.refused += available < NEED_MB * MB
        return Memory(available, 1024 * MB)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> FakeMemory:
    monkeypatch.setattr(fetch_and_load, "_LOOK_SECONDS", 0.02)
    return FakeMemory()


@pytest.fixture
def forker() -> FakeForker:
    return FakeForker()


@pytest.fixture
async def reconciler(
    registry: Registry, forker: FakeForker, memory: FakeMemory, tmp_path: Path
) -> AsyncIterator[Reconciler]:
    cache = ArtifactCache(registry, tmp_path, 0)  # type: ignore[arg-type]
    reconciler = Reconciler(
        registry,  # type: ignore[arg-type]
        VersionLoader(
            cache,
            forker,  # type: ignore[arg-type]
            LoadGate(2, 0, memory.read),
            MemoryNeeds(tmp_path / "memory.json"),
            PodDevices(cores=2, gpu_runs=0, threads=1),
            max_queue_rows=100,
            max_queue_bytes=1000,
            allow_code=False,
            grace_seconds=30,
        ),
        cache,
        DesiredVersions(["s*", "other"]),
        retain_seconds=0.0,
        on_change=lambda: None,
    )
    yield reconciler
    await reconciler.close()


@pytest.fixture
def versions(reconciler: Reconciler) -> VersionLookup:
    return VersionLookup(reconciler)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_new_version_is_ready_before_the_old_goes(reconciler: Reconciler, versions: VersionLookup) -> None:
    """After a promotion the old version answers until the new one is loaded, and goes only after its retention."""
    await reconciler.update(snapshot(spam=1))
    assert versions.model_ready("spam") and versions.ready_models() == {"spam"}
    await reconciler.update(snapshot(spam=2))
    assert versions.model_ready("spam", "1")
    assert (await versions.find("spam", "1")).version.version == 1
    await until(lambda: versions.model_ready("spam", "2"))
    assert (await versions.find("spam")).version.version == 2
    assert LOADED._value.get() == 2
    unloading = asyncio.create_task(reconciler.unload_unnamed())
    await until(lambda: not versions.model_ready("spam", "1"))
    unloading.cancel()
    assert [row[1:3] for row in versions.index()] == [(2, State.READY)]
    assert LOADED._value.get() == 1


async def test_a_rolled_back_version_is_still_here(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry
) -> None:
    """A version that an alias names again within its retention is neither unloaded nor loaded a second time."""
    for number in (1, 2, 1):
        await reconciler.update(snapshot(spam=number))
        await until(lambda: versions.model_ready("spam"))
    unloading = asyncio.create_task(reconciler.unload_unnamed())
    await until(lambda: not versions.model_ready("spam", "2"))
    unloading.cancel()
    assert versions.model_ready("spam", "1")
    assert registry.fetched == [("spam", 1), ("spam", 2)]


async def test_a_broken_model_harms_no_other_and_is_tried_again(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its requests are this pod's refusal, its reason is in the index, and once it loads it serves."""
    monkeypatch.setattr(fetch_and_load, "_MAX_PERMANENT_SECONDS", 0.02)
    registry.broken.add(("spam", 1))
    await reconciler.update(snapshot(spam=1, other=1))
    assert reconciler.synced.is_set()
    assert versions.model_ready("other") and not versions.model_ready("spam")
    with pytest.raises(PodRefusalError) as caught:
        await versions.find("spam")
    assert (caught.value.status, caught.value.code) == (429, "model-unavailable")
    (row,) = [row for row in versions.index() if row[0] == "spam"]
    assert row[2] == State.UNAVAILABLE and row[3]
    registry.broken.clear()
    await until(lambda: versions.model_ready("spam"))


def test_a_failure_of_the_model_itself_is_tried_again_rarely() -> None:
    """The pauses grow to ten minutes; to half a minute if the registry or the memory may have been the cause."""
    assert [fetch_and_load.pause_seconds(n, permanent=True) for n in (1, 2, 5, 6, 500)] == [30, 60, 480, 600, 600]
    assert [fetch_and_load.pause_seconds(n, permanent=False) for n in (1, 2, 4, 5, 500)] == [2, 4, 16, 30, 30]


async def test_a_registry_that_fails_is_asked_again_soon(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetch that fails is no failure of the model, which waits 15 seconds at least."""
    monkeypatch.setattr(fetch_and_load, "_MAX_BACK_OFF_SECONDS", 0.02)
    fetch, failures = registry.fetch, iter([PenstockError(503, "unreachable", "no registry")] * 2)

    async def fails_twice(version: Version, folder: Path) -> None:
        for failure in failures:
            raise failure
        await fetch(version, folder)

    monkeypatch.setattr(registry, "fetch", fails_twice)
    await reconciler.update(snapshot(spam=1))
    async with asyncio.timeout(10):
        await until(lambda: versions.model_ready("spam"))


@pytest.mark.parametrize("what", ["another artifact", "RepositoryModelLoad"])
async def test_a_pause_after_a_permanent_failure_ends_at_once(
    what: str, reconciler: Reconciler, versions: VersionLookup, registry: Registry
) -> None:
    """If the version becomes another artifact, or somebody asks for a load."""
    registry.broken.add(("spam", 1))
    registry.now = snapshot(spam=1)
    await reconciler.update(registry.now)
    assert not versions.model_ready("spam")
    registry.broken.clear()
    async with asyncio.timeout(10):
        if what == "another artifact":
            registry.built = 2
            await reconciler.update(snapshot(2, spam=1))
            await until(lambda: versions.model_ready("spam"))
        else:
            await reconciler.load_model("spam")
    assert versions.model_ready("spam")


async def test_a_pod_that_starts_with_a_broken_version_serves_the_one_before(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the present version can be loaded after all; then the earlier one goes."""
    monkeypatch.setattr(fetch_and_load, "_MAX_PERMANENT_SECONDS", 0.02)
    registry.broken |= {("spam", 3), ("spam", 2)}
    await reconciler.update(snapshot(spam=3, before=(2, 1)))
    await until(lambda: versions.model_ready("spam"))
    assert (await versions.find("spam")).version.version == 1
    await reconciler.unload_expired()
    assert versions.model_ready("spam", "1")
    registry.broken.clear()
    await until(lambda: versions.model_ready("spam", "3"))
    assert (await versions.find("spam")).version.version == 3
    await reconciler.unload_expired()
    assert [row[1:3] for row in versions.index()] == [(3, State.READY)]


async def test_a_version_stays_for_as_long_as_its_successor_loads(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry
) -> None:
    """Its retention begins when the successor is ready: a large model may load for longer than that."""
    await reconciler.update(snapshot(spam=1))
    registry.broken.add(("spam", 2))
    await reconciler.update(snapshot(spam=2, before=(1,)))
    await until(lambda: any(row[2] is State.UNAVAILABLE for row in versions.index()))
    await reconciler.unload_expired()
    assert (await versions.find("spam")).version.version == 1


async def test_a_version_whose_process_ends_is_started_again(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry, forker: FakeForker
) -> None:
    """Until it is, its requests are this pod's refusal; the restart is counted, and nothing is fetched again."""
    await reconciler.update(snapshot(spam=1))
    before = RESTARTS.labels("spam", "sigkill")._value.get()
    hosted = await versions.find("spam")
    forker.processes[0].end()
    await until(lambda: len(forker.processes) == 2)
    await until(lambda: versions.model_ready("spam"))
    assert await versions.find("spam") is hosted
    assert RESTARTS.labels("spam", "sigkill")._value.get() == before + 1
    assert registry.fetched == [("spam", 1)]
    outputs = await hosted.engine.submit(Message({"x": np.ones((1, 3), np.float32)}, time.monotonic() + 10))
    assert outputs[0].tolist() == [3]


async def test_a_version_that_crashes_again_and_again_is_given_a_rest(
    reconciler: Reconciler, versions: VersionLookup, forker: FakeForker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the third crash in a row it is unavailable for a pause, with the reason; then it is tried again."""
    pauses: list[tuple[int, bool]] = []
    goes_on = asyncio.Event()

    async def pause(hosted: HostedVersion, failures: int, *, permanent: bool) -> None:
        pauses.append((failures, permanent))
        await goes_on.wait()

    monkeypatch.setattr(fetch_and_load, "_pause", pause)
    await reconciler.update(snapshot(spam=1))
    for number in range(3):
        await until(lambda number=number: len(forker.processes) == number + 1 and versions.model_ready("spam"))
        forker.processes[number].end()
    await until(lambda: pauses == [(1, False)])
    with pytest.raises(PodRefusalError) as caught:
        await versions.find("spam")
    assert caught.value.code == "model-unavailable"
    ((_, _, state, reason),) = versions.index()
    assert (state, reason) == (State.UNAVAILABLE, "its process was ended by SIGKILL, 3 times in a row")
    goes_on.set()
    await until(lambda: versions.model_ready("spam"))


async def test_what_is_not_this_pools_is_not_loaded(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry
) -> None:
    """Only models that match the pool's patterns are fetched; others are 404 ``unknown-model``."""
    await reconciler.update(snapshot(spam=1, digits=1))
    assert registry.fetched == [("spam", 1)]
    with pytest.raises(PodRefusalError, match="does not serve a model 'digits'"):
        await versions.find("digits")


async def test_a_version_the_pod_has_not_heard_of_is_looked_up(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry
) -> None:
    """If a gateway heard of a promotion first, its request starts the load; until it is done the pod refuses at once."""
    await reconciler.update(snapshot(spam=1))
    registry.now = snapshot(spam=3)
    with pytest.raises(PodRefusalError, match="Version 3 of 'spam' is still being loaded") as caught:
        await versions.find("spam", "3")
    assert (caught.value.status, caught.value.code) == (429, "model-loading")
    await until(lambda: versions.model_ready("spam", "3"))
    assert (await versions.find("spam", "3")).version.version == 3
    with pytest.raises(PodRefusalError) as caught:
        await versions.find("spam", "2")
    assert caught.value.code == "unknown-version"


async def test_requests_for_an_unknown_version_share_one_read_of_a_slow_registry(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are refused though the registry does not answer; what it answers later is taken over all the same."""
    monkeypatch.setattr(reconciler_module, "_REFRESH_SECONDS", 0.05)
    await reconciler.update(snapshot(spam=1))
    answer = asyncio.Event()
    reads = 0

    async def slow() -> Snapshot:
        nonlocal reads
        reads += 1
        await answer.wait()
        return snapshot(spam=3)

    monkeypatch.setattr(registry, "watch", slow)
    refusals = await asyncio.gather(*[versions.find("spam", "3") for _ in range(10)], return_exceptions=True)
    assert {getattr(refusal, "code", refusal) for refusal in refusals} == {"unknown-version"}
    assert reads == 1
    answer.set()
    await until(lambda: versions.model_ready("spam", "3"))


async def test_unload_and_load_again(reconciler: Reconciler, versions: VersionLookup, registry: Registry) -> None:
    """A model that RepositoryModelUnload took away stays away until RepositoryModelLoad, whatever the aliases name."""
    registry.now = snapshot(spam=1)
    await reconciler.update(registry.now)
    await reconciler.unload_model("spam")
    await reconciler.update(registry.now)
    assert not versions.model_ready("spam")
    with pytest.raises(PodRefusalError, match="unloaded from this pod; RepositoryModelLoad brings it back") as caught:
        await versions.find("spam")
    assert (caught.value.status, caught.value.code) == (429, "model-unavailable")
    await reconciler.load_model("spam")
    assert versions.model_ready("spam")


async def test_a_number_that_means_another_artifact_is_another_version(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry
) -> None:
    """After the registry was wiped and rebuilt, the old weights never answer as version 1 again."""
    await reconciler.update(snapshot(spam=1))
    old = await versions.find("spam", "1")
    registry.built = 2
    registry.now = snapshot(built=2, spam=1)
    await reconciler.update(registry.now)
    assert not versions.model_ready("spam", "1")
    with pytest.raises(PodRefusalError, match="still being loaded"):
        await versions.find("spam", "1")
    await until(lambda: versions.model_ready("spam", "1"))
    assert (await versions.find("spam", "1")).digest != old.digest
    assert registry.fetched == [("spam", 1), ("spam", 1)]


async def test_a_version_that_leaves_while_it_loads_holds_nothing_up(
    reconciler: Reconciler, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pod is ready once the others have settled."""
    fetching = asyncio.Event()

    async def endless(version: Version, folder: Path) -> None:
        fetching.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(registry, "fetch", endless)
    first = asyncio.create_task(reconciler.update(snapshot(spam=1)))
    await fetching.wait()
    await reconciler.unload_model("spam")
    await asyncio.wait_for(first, 10)
    assert reconciler.synced.is_set()


async def test_a_model_that_is_code_is_loaded_only_where_the_operator_allows_it(reconciler: Reconciler) -> None:
    """The reason names the format and the setting; nothing of the artifact is run."""
    wanted = snapshot(spam=1)
    wanted.models[0].versions[1].manifest = msgspec.structs.replace(MANIFEST, format=Format.PYTHON, file="model.py")
    await reconciler.update(wanted)
    [(_, _, state, reason)] = VersionLookup(reconciler).index()
    assert state is State.UNAVAILABLE
    assert "format python run code" in reason and "PENSTOCK_INFERENCE_ALLOW_CODE" in reason


def with_instances(count: int, **aliases: int) -> Snapshot:
    """A snapshot whose versions want so many processes."""
    wanted = snapshot(**aliases)
    for version in wanted.models[0].versions.values():
        version.manifest = msgspec.structs.replace(MANIFEST, resources=Resources(instances=count, memory_mb=NEED_MB))
    return wanted


async def test_a_version_has_as_many_processes_as_it_wants(
    reconciler: Reconciler, versions: VersionLookup, forker: FakeForker
) -> None:
    """All of them are loaded, and end when it is unloaded."""
    await reconciler.update(with_instances(2, spam=1))
    await until(lambda: len(forker.processes) == 2)
    assert versions.model_ready("spam")
    await reconciler.unload_model("spam")
    assert all(process.ended.is_set() for process in forker.processes)


async def test_a_process_that_ends_beside_others_costs_nothing(
    reconciler: Reconciler, versions: VersionLookup, forker: FakeForker
) -> None:
    """The version stays ready and answers, and the process is replaced; with the last one, it is restarting."""
    await reconciler.update(with_instances(2, spam=1))
    await until(lambda: len(forker.processes) == 2)
    hosted = await versions.find("spam")
    states = []
    reconciler._on_change = lambda: states.append(hosted.state)
    forker.processes[0].end()
    await until(lambda: len(forker.processes) == 3)
    assert set(states) == {State.READY}
    outputs = await hosted.engine.submit(Message({"x": np.ones((1, 3), np.float32)}, time.monotonic() + 10))
    assert outputs[0].tolist() == [3]
    for process in forker.processes[1:]:
        process.end()
    await until(lambda: State.LOADING in states)
    await until(lambda: len(forker.processes) == 5)
    assert versions.model_ready("spam")


async def test_further_processes_of_a_broken_version_are_not_tried(
    reconciler: Reconciler, versions: VersionLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One load fails, not as many as there should be instances."""
    tried = []

    async def fails(version: Version) -> Path:
        tried.append(version.version)
        raise PenstockError(503, "unreachable", "no registry")

    monkeypatch.setattr(reconciler._cache, "fetch", fails)
    await reconciler.update(with_instances(8, spam=1))
    assert not versions.model_ready("spam")
    assert tried == [1]


async def test_an_instance_for_which_there_is_no_memory_leaves_the_others_serving(
    reconciler: Reconciler, versions: VersionLookup, forker: FakeForker, memory: FakeMemory
) -> None:
    """Each is counted; the second is loaded once there is room for it."""
    forker.on_start = lambda: memory.take(600)
    await reconciler.update(with_instances(2, spam=1))
    await until(lambda: memory.refused > 0)
    assert versions.model_ready("spam") and len(forker.processes) == 1
    memory.taken = 0
    await until(lambda: len(forker.processes) == 2)


async def test_a_version_for_which_there_is_no_memory_waits_for_an_unload(
    reconciler: Reconciler, versions: VersionLookup, registry: Registry, forker: FakeForker, memory: FakeMemory
) -> None:
    """It says what it needs and what there is, holds the pod's start up no longer, and is loaded when another leaves."""
    registry.now = with_instances(1, spam=1)
    memory.taken = 600
    await reconciler.update(registry.now)
    assert reconciler.synced.is_set()
    [(_, _, state, reason)] = versions.index()
    assert state is State.UNAVAILABLE
    assert "needs about 500 MB" in reason and "296 MB of 1024 MB are available" in reason
    assert forker.processes == []
    async with asyncio.timeout(10):  # somebody asks for it: it is tried at once, and not for ever
        await reconciler.load_model("spam")
    assert not versions.model_ready("spam")
    memory.taken = 0
    await until(lambda: versions.model_ready("spam"))


async def test_what_a_load_took_is_what_the_next_one_needs(
    reconciler: Reconciler, versions: VersionLookup, memory: FakeMemory, tmp_path: Path
) -> None:
    """It is remembered by the artifact's digest, beside the artifacts."""
    await reconciler.update(snapshot(spam=1))
    hosted = await versions.find("spam")
    assert (
        MemoryNeeds(tmp_path / "memory.json").of(hosted.digest, msgspec.structs.replace(MANIFEST), 0, 0).bytes
        == 220 * MB
    )
    await reconciler.unload_model("spam")
    assert (tmp_path / "memory.json").exists()


def gpu_samples() -> list[tuple[dict[str, str], float]]:
    return [(sample.labels, sample.value) for metric in GPU_BYTES.collect() for sample in metric.samples]


async def test_the_gpus_memory_is_shown_while_a_version_is_here(
    reconciler: Reconciler, versions: VersionLookup, forker: FakeForker
) -> None:
    """By the GPU's name, again after a restart on another, and not once the version is gone."""
    forker.device, forker.gpu_bytes = "NVIDIA L4", 1000
    await reconciler.update(snapshot(spam=1))
    await until(lambda: versions.model_ready("spam"))
    assert gpu_samples() == [({"model": "spam", "version": "1", "device": "NVIDIA L4"}, 1000)]
    forker.device, forker.gpu_bytes = "NVIDIA A2", 2000
    forker.processes[0].end()
    await until(lambda: [value for _, value in gpu_samples()] == [2000])
    assert gpu_samples()[0][0]["device"] == "NVIDIA A2"
    unloading = asyncio.create_task(reconciler.unload_unnamed())
    await reconciler.update(snapshot())
    await until(lambda: not gpu_samples())
    unloading.cancel()


@pytest.mark.parametrize(("device", "warnings"), [("cpu", 1), ("NVIDIA L4", 0)])
async def test_the_cpu_of_a_pod_with_a_gpu_is_worth_a_line(
    reconciler: Reconciler,
    versions: VersionLookup,
    forker: FakeForker,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    warnings: int,
) -> None:
    """With the remedy; every load says on what it runs."""
    monkeypatch.setattr(fetch_and_load, "gpu_devices", lambda: [Path("/dev/nvidiactl")])
    forker.device = device
    with capture_logs() as logs:
        await reconciler.update(snapshot(spam=1))
        await until(lambda: versions.model_ready("spam"))
    assert [line["device"] for line in logs if line["event"] == "loaded"] == [device]
    assert len([line for line in logs if "built for CUDA" in line.get("remedy", "")]) == warnings
