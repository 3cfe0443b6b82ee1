"""A store in a folder: writes are whole, durable, or did not happen."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.object_store.folder_store import FolderStore


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


async def test_an_object_is_created_once(store: FolderStore) -> None:
    """The second creation leaves the first one's bytes."""
    assert await store.create("a/b", b"1")
    assert not await store.create("a/b", b"2")
    assert await store.get("a/b") == b"1"
    assert files(store.root) == ["a/b"]


async def test_an_object_is_replaced_and_its_stamp_changes(store: FolderStore) -> None:
    """Even if size and content are the same."""
    await store.put("a", b"1")
    before = await store.info("a")
    await store.put("a", b"1")
    after = await store.info("a")
    assert before is not None and after is not None and before.stamp != after.stamp


async def test_a_listing_starts_after_a_key(store: FolderStore) -> None:
    """Folders and other folders' files are not in it."""
    for key in ("a/1", "a/2", "a/3", "a/deep/4", "b/5"):
        await store.put(key, b"")
    assert [info.key for info in await store.list_objects("a", "a/1")] == ["a/2", "a/3"]
    assert await store.list_folders("a") == ["deep"]
    assert await store.list_objects("nothing") == []


@pytest.mark.parametrize("replace", [False, True])
async def test_a_file_is_on_disk_before_it_has_its_name(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, replace: bool
) -> None:
    """Synced are the bytes, then every folder that is new, then the folder that names the file."""
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        synced.append((path.name if path.is_dir() else "the file", (store.root / "new/folder/a").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    if replace:
        await store.put("new/folder/a", b"1")
    else:
        await store.create("new/folder/a", b"1")
    assert synced[0] == ("the file", False)
    assert {store.root.name, "new"} <= {name for name, _ in synced[1:]}
    assert synced[-1] == ("folder", True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("method", ["create", "put", "put_stream"])
async def test_a_full_disk_is_named_and_nothing_is_left_behind(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    """507 ``disk-full`` names the folder; neither a half file nor an unfinished one remains."""
    await store.put("kept", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PenstockError) as refused:
        match method:
            case "create":
                await store.create("new", b"1")
            case "put":
                await store.put("kept", b"1")
            case _:
                await store.put_stream("kept", chunks())
    assert (refused.value.status, refused.value.code) == (507, "disk-full")
    assert str(store.root) in refused.value.detail
    assert files(store.root) == ["kept"]
    assert await store.get("kept") == b"old"


async def test_a_stream_that_breaks_off_leaves_nothing(store: FolderStore) -> None:
    """The error is the stream's own."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("the sender went away")

    with pytest.raises(RuntimeError, match="went away"):
        await store.put_stream("a", chunks())
    assert files(store.root) == []
