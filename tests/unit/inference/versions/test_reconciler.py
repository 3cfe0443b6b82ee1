"""What a pod serves: versions come loaded and warm, go late, and fail alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import AliasTarget, Model, Snapshot, Version
from penstock_inference.versions import reconciler as module
from penstock_inference.versions.reconciler import Repository, State
from penstock_training.artifact import FILES, save

MANIFEST = Manifest(
    format=Format.TORCHSCRIPT,
    file=FILES[Format.TORCHSCRIPT],
    task=Task.REGRESSION,
    inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3])],
    outputs=[Output("y", "FP32")],
)


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1)


class Registry:
    """Gives out one artifact for all versions, except those that are broken."""

    def __init__(self) -> None:
        self.broken: set[tuple[str, int]] = set()
        self.fetched: list[tuple[str, int]] = []
        self.now = snapshot()

    async def watch(self) -> Snapshot:
        return self.now

    async def fetch(self, version: Version, folder: Path) -> None:
        self.fetched.append((version.model, version.version))
        folder.mkdir(parents=True, exist_ok=True)
        save(folder, Sum(), MANIFEST, (torch.zeros(2, 3),), ({0: torch.export.Dim("batch", min=1, max=4096)},))
        if (version.model, version.version) in self.broken:
            (folder / MANIFEST.file).write_bytes(b"no model")


def snapshot(**aliases: int) -> Snapshot:
    """Models with versions 1 to 3 and ``production`` at the given one."""
    models = []
    for name, number in aliases.items():
        versions = {n: Version(name, n, MANIFEST, [], "now") for n in (1, 2, 3)}
        models.append(Model(name, 1, versions, {"production": [AliasTarget(number)]}))
    return Snapshot(str(aliases), models)


@pytest.fixture
async def registry() -> Registry:
    return Registry()


@pytest.fixture
async def repository(registry: Registry, tmp_path: Path) -> AsyncIterator[Repository]:
    repository = Repository(
        registry,  # type: ignore[arg-type]
        tmp_path,
        patterns=["s*", "other"],
        threads=1,
        max_queue_rows=100,
        retain_seconds=0.0,
        on_change=lambda: None,
    )
    yield repository
    await repository.drain()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_new_version_is_ready_before_the_old_goes(repository: Repository) -> None:
    """After a promotion the old version answers until the new one is loaded, and goes only when swept."""
    await repository.update(snapshot(spam=1))
    assert repository.model_ready("spam") and repository.ready_models() == {"spam"}
    await repository.update(snapshot(spam=2))
    assert repository.model_ready("spam", "1")
    assert (await repository.find("spam", "1")).version.version == 1
    assert (await repository.find("spam")).version.version == 2
    sweeping = asyncio.create_task(repository.sweep())
    await until(lambda: not repository.model_ready("spam", "1"))
    sweeping.cancel()
    assert [row[1:3] for row in repository.index()] == [("2", State.READY)]


async def test_a_broken_model_harms_no_other_and_is_tried_again(
    repository: Repository, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its requests are refused with 503, its reason is in the index, and once it loads it serves."""
    monkeypatch.setattr(module, "_LONGEST_BACK_OFF", 0.02)
    registry.broken.add(("spam", 1))
    await repository.update(snapshot(spam=1, other=1))
    assert repository.synced.is_set()
    assert repository.model_ready("other") and not repository.model_ready("spam")
    with pytest.raises(PenstockError) as caught:
        await repository.find("spam")
    assert caught.value.status == 503
    (row,) = [row for row in repository.index() if row[0] == "spam"]
    assert row[2] == State.UNAVAILABLE and row[3]
    registry.broken.clear()
    await until(lambda: repository.model_ready("spam"))


async def test_what_is_not_this_pools_is_not_loaded(repository: Repository, registry: Registry) -> None:
    """Only models that match the pool's patterns are fetched; others are 404 ``unknown-model``."""
    await repository.update(snapshot(spam=1, digits=1))
    assert registry.fetched == [("spam", 1)]
    with pytest.raises(PenstockError, match="does not serve a model 'digits'"):
        await repository.find("digits")


async def test_a_version_the_pod_has_not_heard_of_is_looked_up(repository: Repository, registry: Registry) -> None:
    """A gateway that heard of a promotion first is answered by the version it names, not refused."""
    await repository.update(snapshot(spam=1))
    registry.now = snapshot(spam=3)
    assert (await repository.find("spam", "3")).version.version == 3
    with pytest.raises(PenstockError) as caught:
        await repository.find("spam", "2")
    assert caught.value.code == "unknown-version"


async def test_unload_and_load_again(repository: Repository, registry: Registry) -> None:
    """RepositoryModelUnload's model is away until RepositoryModelLoad, and comes back by itself never."""
    registry.now = snapshot(spam=1)
    await repository.update(registry.now)
    await repository.unload("spam")
    await repository.update(registry.now)
    assert not repository.model_ready("spam")
    assert await repository.load("spam")
    assert repository.model_ready("spam")
