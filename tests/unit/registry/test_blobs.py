"""Blobs: wrong bytes are found and replaced, sizes are bounded, what nobody names is collected."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.object_store.folder_store import FolderStore
from penstock_common.registry_models import FileRef, LogEntry, Version
from penstock_registry.blob_collector import BlobCollector
from penstock_registry.blobs import Blobs
from penstock_registry.model_logs import ModelLogs
from penstock_registry.model_state import ModelState

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()
FILE = FileRef("model.onnx", len(DATA), DIGEST)
MANIFEST = Manifest(
    Format.ONNX, "model.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)
DAY = 86400.0


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(FolderStore(tmp_path), max_bytes=20_000)


def blob_file(root: Path) -> Path:
    return root / "blobs" / "sha256" / DIGEST


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def make_older(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_a_flipped_byte_is_healed_by_pushing_the_right_bytes(tmp_path: Path, blobs: Blobs) -> None:
    """The blob counts as absent, so that a client sends it; the right bytes then replace the wrong ones."""
    await blobs.write(DIGEST, stream(DATA), len(DATA))
    assert (await blobs.upload_target(FILE, named=True)).present
    flip_a_byte(blob_file(tmp_path))
    assert "do not have sha256" in (await blobs.problem(FILE) or "")
    assert not (await blobs.upload_target(FILE, named=True)).present
    await blobs.write(DIGEST, stream(DATA), len(DATA))
    assert await blobs.problem(FILE) is None
    assert blob_file(tmp_path).read_bytes() == DATA


async def test_bytes_are_read_once_for_each_time_they_are_written(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of bytes that have not been written since the last one asks for the size alone, unless wanted anew."""
    await blobs.write(DIGEST, stream(DATA), len(DATA))
    reads: list[str] = []
    read = FolderStore.read

    def count(store: FolderStore, key: str, size: int) -> AsyncIterator[bytes]:
        reads.append(key)
        return read(store, key, size)

    monkeypatch.setattr(FolderStore, "read", count)
    assert await blobs.problem(FILE) is None
    assert reads == []
    assert await blobs.problem(FILE, anew=True) is None
    assert len(reads) == 1


async def test_a_wrong_size_for_a_right_blob_is_the_callers_mistake(blobs: Blobs) -> None:
    """422 at the declaration; the blob is not replaced."""
    await blobs.write(DIGEST, stream(DATA), len(DATA))
    with pytest.raises(PenstockError) as refused:
        await blobs.upload_target(FileRef("model.onnx", 3, DIGEST), named=False)
    assert refused.value.status == 422


async def test_a_blob_is_bounded(tmp_path: Path, blobs: Blobs) -> None:
    """413 names the setting: at the declaration, by the announced size, and by what arrives."""
    large = FileRef("m", 20_001, DIGEST)
    endless = [bytes(10_000)] * 3
    for call in (
        blobs.upload_target(large, named=False),
        blobs.write(DIGEST, stream(), 20_001),
        blobs.write(DIGEST, stream(*endless), None),
    ):
        with pytest.raises(PenstockError, match="PENSTOCK_REGISTRY_MAX_BLOB_BYTES") as refused:
            await call
        assert (refused.value.status, refused.value.code) == (413, "blob-too-large")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_uploads_leave_room_for_the_logs(tmp_path: Path) -> None:
    """507 ``disk-full`` before a byte is written, while logs can still grow."""
    store = FolderStore(tmp_path)
    blobs = Blobs(store, min_free_bytes=store.free_bytes() + 10**9)
    assert blobs.disk_is_full()
    with pytest.raises(PenstockError) as refused:
        await blobs.write(DIGEST, stream(DATA), len(DATA))
    assert (refused.value.status, refused.value.code) == (507, "disk-full")
    assert "PENSTOCK_REGISTRY_MIN_FREE_BYTES" in refused.value.detail
    assert await store.create("models/m/log/00000001.json", b"{}")


async def test_an_old_upload_is_not_committed(tmp_path: Path, blobs: Blobs) -> None:
    """It could be collected in the same moment; sent again, it is young again. A named blob has no age."""
    await blobs.write(DIGEST, stream(DATA), len(DATA))
    make_older(blob_file(tmp_path), 0.8 * DAY)
    assert "upload it again" in (await blobs.problem(FILE, named=False) or "")
    assert not (await blobs.upload_target(FILE, named=False)).present
    assert (await blobs.upload_target(FILE, named=True)).present
    await blobs.write(DIGEST, stream(DATA), len(DATA))
    assert await blobs.problem(FILE, named=False) is None


def naming(*files: FileRef) -> LogEntry:
    return LogEntry(0, "registered", "", version=Version("m", 1, MANIFEST, list(files), ""))


class Store:
    """A store with one blob of a given age, and a collector."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = FolderStore(root)
        self.logs = ModelLogs(self.store)
        self.collector = BlobCollector(self.store, self.logs, DAY)

    async def start(self, age: float) -> None:
        await Blobs(self.store).write(DIGEST, stream(DATA), len(DATA))
        make_older(blob_file(self.root), age)
        while not self.logs.complete:
            await self.logs.poll()

    async def collect(self) -> int:
        return await self.collector.collect()


async def test_an_upload_that_no_version_names_is_collected_after_its_grace(tmp_path: Path) -> None:
    """A younger one stays."""
    store = Store(tmp_path)
    await store.start(age=DAY - 60)
    assert await store.collect() == 0
    make_older(blob_file(tmp_path), DAY + 60)
    assert await store.collect() == 1
    assert not blob_file(tmp_path).exists()


@pytest.mark.parametrize("later", [None, "version-quarantined", "deleted"])
async def test_what_a_log_names_is_never_collected(tmp_path: Path, later: str | None) -> None:
    """Neither if the version was quarantined, nor if its model was deleted; written by whichever registry."""
    store = Store(tmp_path)
    await store.start(age=30 * DAY)
    other = ModelLogs(FolderStore(tmp_path))
    await other.append("m", lambda _: naming(FILE))
    if later is not None:
        await other.append("m", lambda _: LogEntry(0, later, "", quarantined=1))  # type: ignore[arg-type]
    assert await store.collect() == 0
    assert blob_file(tmp_path).exists()


async def test_nothing_is_collected_while_a_log_is_damaged(tmp_path: Path) -> None:
    """The lost entry may name the blob."""
    store = Store(tmp_path)
    await store.start(age=30 * DAY)
    other = ModelLogs(FolderStore(tmp_path))
    await other.append("m", lambda _: naming(FILE))
    (tmp_path / "models" / "m" / "log" / "00000001.json").write_bytes(b"")
    assert await store.collect() == 0
    assert blob_file(tmp_path).exists()


async def test_what_a_crash_left_unfinished_is_collected(tmp_path: Path) -> None:
    """Files that are being written now stay."""
    store = Store(tmp_path)
    await store.start(age=0)
    old, young = tmp_path / "tmp" / "old", tmp_path / "tmp" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    make_older(old, DAY + 60)
    await store.collect()
    assert (old.exists(), young.exists()) == (False, True)


async def test_a_version_is_gone_but_its_files_stay_known(tmp_path: Path) -> None:
    """A checkpoint keeps the digests of quarantined versions."""
    logs = ModelLogs(FolderStore(tmp_path))
    await logs.append("m", lambda _: naming(FILE))
    await logs.append("m", lambda _: LogEntry(0, "version-quarantined", "", quarantined=1))
    for _ in range(20):
        await logs.append("m", _register_another)
    anew = ModelLogs(FolderStore(tmp_path))
    await anew.refresh("m")
    assert DIGEST in anew.named_blobs()


def _register_another(state: ModelState) -> LogEntry:
    return LogEntry(0, "registered", "", version=Version("m", state.last_version + 1, MANIFEST, [], ""))
