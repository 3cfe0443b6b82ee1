"""What is left of a version that was unloaded: nothing."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from penstock_common.manifest import Manifest
from penstock_common.registry_models import AliasTarget, Model, Snapshot, Version
from penstock_inference.engine.message import Message
from penstock_inference.engine.pod_devices import PodDevices
from penstock_inference.versions.artifact_cache import ArtifactCache
from penstock_inference.versions.desired import DesiredVersions
from penstock_inference.versions.fetch_and_load import VersionLoader
from penstock_inference.versions.hosted import HostedVersion
from penstock_inference.versions.load_gate import LoadGate
from penstock_inference.versions.lookup import VersionLookup
from penstock_inference.versions.memory_needs import MemoryNeeds
from penstock_inference.versions.reconciler import Reconciler
from tests.unit.inference.versions.fake_forker import FakeForker


class Registry:
    async def fetch(self, version: Version, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / version.manifest.file).write_bytes(b"a model")


@pytest.fixture
async def reconciler(tmp_path: Path) -> AsyncIterator[Reconciler]:
    registry: Any = Registry()
    cache = ArtifactCache(registry, tmp_path, 0)
    reconciler = Reconciler(
        registry,
        VersionLoader(
            cache,
            FakeForker(),  # type: ignore[arg-type]
            LoadGate(2, 0),
            MemoryNeeds(tmp_path / "memory.json"),
            PodDevices(cores=2, gpu_runs=0, threads=1),
            max_queue_rows=100,
            max_queue_bytes=1000,
            allow_code=False,
            grace_seconds=30,
        ),
        cache,
        DesiredVersions(["*"]),
        retain_seconds=0.0,
        on_change=lambda: None,
    )
    yield reconciler
    await reconciler.close()


async def promote(reconciler: Reconciler, manifest: Manifest, number: int) -> HostedVersion:
    """Make a version the only one, and let it answer a message."""
    version = Version("swap", number, manifest, [], "now")
    model = Model("swap", number, {number: version}, {"production": [AliasTarget(number)]})
    await reconciler.update(Snapshot(str(number), [model]))
    async with asyncio.timeout(10):
        await reconciler.hosted["swap", number].settled.wait()
    await reconciler.unload_expired()
    hosted = await VersionLookup(reconciler).find("swap")
    await hosted.engine.submit(Message({"x": np.ones(1, np.float32)}, time.monotonic() + 10))
    hosted.metrics.count_answer("OK")
    return hosted


def series() -> list[dict[str, str]]:
    """The labels of each of the model's series."""
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return [sample.labels for sample in samples if sample.labels.get("model") == "swap"]


async def test_two_hundred_promotions_leave_one_version(reconciler: Reconciler, regression: Manifest) -> None:
    """The engine and the series of each earlier version are gone as soon as it was unloaded."""
    versions = [weakref.ref(await promote(reconciler, regression, number)) for number in range(1, 201)]
    gc.collect()
    assert [ref() is not None for ref in versions] == [False] * 199 + [True]
    assert {labels["version"] for labels in series() if "version" in labels} == {"200"}
    await reconciler.unload_model("swap")
    assert series() == []
