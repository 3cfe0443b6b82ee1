"""The pod's cache gives out only what was registered, and does not grow without bound."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from penstock_common.manifest import Manifest
from penstock_common.registry_models import FileRef, Version
from penstock_inference.versions.artifact_cache import ArtifactCache, artifact_digest


class Registry:
    """Artifacts of one file, whose content is given by the model's name and number."""

    def __init__(self) -> None:
        self.contents: dict[tuple[str, int], bytes] = {}
        self.fetched: list[tuple[str, int]] = []

    def version(self, manifest: Manifest, number: int, content: bytes, model: str = "m") -> Version:
        """Register a version."""
        self.contents[model, number] = content
        file = FileRef("sub/m.bin", len(content), hashlib.sha256(content).hexdigest())
        return Version(model, number, manifest, [file], "now")

    async def fetch(self, version: Version, folder: Path) -> None:
        self.fetched.append((version.model, version.version))
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "m.bin").write_bytes(self.contents[version.model, version.version])


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def cache(registry: Registry, tmp_path: Path) -> ArtifactCache:
    """It keeps 250 unused bytes."""
    return ArtifactCache(registry, tmp_path, 250)  # type: ignore[arg-type]


async def test_an_artifact_is_fetched_once(cache: ArtifactCache, registry: Registry, regression: Manifest) -> None:
    """Whatever its versions are called: the same files are the same folder."""
    first = await cache.fetch(registry.version(regression, 1, b"weights"))
    again = await cache.fetch(registry.version(regression, 2, b"weights"))
    assert first == again
    assert registry.fetched == [("m", 1)]


async def test_a_name_that_means_other_files_is_another_artifact(
    cache: ArtifactCache, registry: Registry, regression: Manifest
) -> None:
    """The registry was wiped, and another model registered under the same name and number."""
    await cache.fetch(registry.version(regression, 1, b"old weights"))
    folder = await cache.fetch(registry.version(regression, 1, b"new weights"))
    assert (folder / "sub" / "m.bin").read_bytes() == b"new weights"


@pytest.mark.parametrize("damage", [b"Weights", b"weight", None])
async def test_a_damaged_artifact_is_fetched_again(
    cache: ArtifactCache, registry: Registry, regression: Manifest, damage: bytes | None
) -> None:
    """A flipped bit, a shorter file, a missing one."""
    version = registry.version(regression, 1, b"weights")
    file = await cache.fetch(version) / "sub" / "m.bin"
    file.unlink() if damage is None else file.write_bytes(damage)
    assert (await cache.fetch(version) / "sub" / "m.bin").read_bytes() == b"weights"
    assert registry.fetched == [("m", 1), ("m", 1)]


async def test_what_was_unused_for_longest_is_deleted_first(
    cache: ArtifactCache, registry: Registry, regression: Manifest
) -> None:
    """Two of 100 bytes fit beside the used one; one that was fetched again counts as new."""
    versions = [registry.version(regression, n, bytes([n]) * 100) for n in range(5)]
    folders = [await cache.fetch(version) for version in versions]
    for age, folder in enumerate(folders):
        os.utime(folder, (age, age))
    await cache.fetch(versions[1])
    await cache.trim({artifact_digest(versions[0])})
    assert [folder.exists() for folder in folders] == [True, True, False, False, True]


async def test_half_a_fetch_is_deleted_at_the_start(registry: Registry, tmp_path: Path) -> None:
    """A process that was killed leaves such a folder."""
    (tmp_path / ".abc.123").mkdir()
    (tmp_path / ".abc.123" / "m.bin").write_bytes(b"weig")
    ArtifactCache(registry, tmp_path, 0)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
