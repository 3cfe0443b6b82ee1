"""All models of a store: one cannot hurt another, and an idle store is asked little."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.object_store.folder_store import FolderStore
from penstock_common.registry_models import LogEntry, Version
from penstock_registry.model_logs import ModelLogs, StoreIdentityLostError
from penstock_registry.model_state import ModelState
from penstock_registry.watch import Watch
from tests.unit.registry.store_doubles import TestStore

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)


def register(state: ModelState) -> LogEntry:
    return LogEntry(0, "registered", "", version=Version(state.model.name, state.last_version + 1, MANIFEST, [], ""))


async def write_models(folder: Path, count: int) -> ModelLogs:
    logs = ModelLogs(FolderStore(folder))
    for number in range(count):
        await logs.append(f"m{number}", register)
    return logs


async def first_read(logs: ModelLogs) -> None:
    while not logs.complete:
        await logs.poll()


def names(logs: ModelLogs) -> list[str]:
    return [state.model.name for state in logs.states]


async def test_an_idle_store_is_asked_twice_a_poll(tmp_path: Path) -> None:
    """Whatever the number of models: one listing for all, and the log of one in turn."""
    await write_models(tmp_path, 201)
    store = TestStore(tmp_path)
    logs = ModelLogs(store)
    await first_read(logs)
    await logs.poll()
    store.calls.clear()
    for _ in range(100):
        await logs.poll()
    assert len(store.calls) <= 2 * 100 + 1


async def test_each_model_is_looked_at_in_turn(tmp_path: Path) -> None:
    """An entry whose writer died before it could leave a sign is found within as many polls as there are models."""
    await write_models(tmp_path, 5)
    logs = ModelLogs(FolderStore(tmp_path))
    await first_read(logs)
    writer = TestStore(tmp_path)

    def no_heads(method: str, key: str) -> None:
        if method == "put" and key.startswith("index/"):
            raise OSError("the writer died here")

    writer.before = no_heads
    await ModelLogs(writer).append("m3", register)
    await ModelLogs(writer).append("unseen", register)
    for _ in range(2 * 6):
        await logs.poll()
    assert logs.log("m3").state.revision == 2
    assert "unseen" in names(logs)


async def test_a_change_by_another_registry_is_seen_with_the_next_poll(tmp_path: Path) -> None:
    """Only the model that changed is read."""
    other = await write_models(tmp_path, 50)
    store = TestStore(tmp_path)
    logs = ModelLogs(store)
    await first_read(logs)
    await logs.poll()
    await other.append("m7", register)
    await other.append("new", register)
    store.calls.clear()
    await logs.poll()
    assert logs.log("m7").state.revision == 2
    assert "new" in names(logs)
    assert len(store.calls) < 15


async def test_a_quiet_store_is_asked_less_often(tmp_path: Path) -> None:
    """The pause grows with the quiet time up to its bound, and is short again after a change."""
    logs = await write_models(tmp_path, 1)
    watch = Watch(logs, interval=1.0, idle_interval=5.0)
    await first_read(logs)
    assert [watch.pause(quiet) for quiet in (0, 10, 30, 50, 3600)] == [1.0, 1.0, 3.0, 5.0, 5.0]


@pytest.mark.parametrize("object_", ["log/00000001.json", "state.json"])
async def test_one_empty_object_concerns_one_model(tmp_path: Path, object_: str) -> None:
    """The other 220 are served, and the store counts as read."""
    await write_models(tmp_path, 221)
    (tmp_path / "models" / "m5" / object_).write_bytes(b"")
    logs = ModelLogs(FolderStore(tmp_path))
    await first_read(logs)
    assert len(names(logs)) == 221
    damaged = [state.model.name for state in logs.states if state.model.damage]
    assert damaged == (["m5"] if object_.startswith("log") else [])


async def test_a_model_that_the_store_fails_to_give_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is tried a few times, reported, and read once the store gives it."""
    await write_models(tmp_path, 3)
    store = TestStore(tmp_path)

    def m1_fails(_method: str, key: str) -> None:
        if key.startswith("models/m1/"):
            raise PermissionError(key)

    store.before = m1_fails
    logs = ModelLogs(store)
    await first_read(logs)
    assert (names(logs), logs.failing) == (["m0", "m2"], ["m1"])
    store.before = lambda *_: None
    await logs.poll()
    assert (names(logs), logs.failing) == (["m0", "m1", "m2"], [])


async def test_a_store_that_gives_nothing_is_not_taken_for_read(tmp_path: Path) -> None:
    """If no model can be read, the registry waits instead of saying that there is none."""
    await write_models(tmp_path, 3)
    store = TestStore(tmp_path)

    def throttled(method: str, _key: str) -> None:
        if method == "get" and "models/" in _key:
            raise ConnectionError("slow down")

    store.before = throttled
    logs = ModelLogs(store)
    for _ in range(20):
        await logs.poll()
    assert not logs.complete


async def test_other_files_do_not_become_models(tmp_path: Path) -> None:
    """Folders and heads whose names are not those of models are left alone."""
    await write_models(tmp_path, 1)
    (tmp_path / "models" / "Lost+Found" / "log").mkdir(parents=True)
    (tmp_path / "models" / "Lost+Found" / "log" / "00000001.json").write_bytes(b"")
    (tmp_path / "index" / "UPPER.head").write_bytes(b"1")
    logs = ModelLogs(FolderStore(tmp_path))
    await first_read(logs)
    assert names(logs) == ["m0"]


async def test_a_snapshot_is_refused_before_the_store_was_read(tmp_path: Path) -> None:
    """503 ``registry-starting``: an empty answer would make gateways forget all models."""
    logs = ModelLogs(FolderStore(tmp_path))
    watch = Watch(logs)
    with pytest.raises(PenstockError) as refused:
        await watch.wait("", 0)
    assert (refused.value.status, refused.value.code) == (503, "registry-starting")
    await first_read(logs)
    assert (await watch.wait("", 0)).models == []


async def test_a_rebuilt_store_has_another_cursor(tmp_path: Path) -> None:
    """The same model at the same revision in another store is another snapshot; the same store keeps its cursor."""

    async def snapshot(folder: Path) -> tuple[str, str]:
        logs = ModelLogs(FolderStore(folder))
        await first_read(logs)
        got = Watch(logs).snapshot()
        return got.cursor, got.store

    await write_models(tmp_path / "a", 1)
    await write_models(tmp_path / "b", 1)
    first = await snapshot(tmp_path / "a")
    assert await snapshot(tmp_path / "a") == first
    other = await snapshot(tmp_path / "b")
    assert other[0] != first[0] and other[1] != first[1]


async def test_a_running_registry_notices_another_store(tmp_path: Path) -> None:
    """The models of the old one are forgotten, those of the new one read."""
    await write_models(tmp_path / "a", 2)
    logs = ModelLogs(FolderStore(tmp_path / "a"))
    await first_read(logs)
    await write_models(tmp_path / "b", 1)
    await first_read(ModelLogs(FolderStore(tmp_path / "b")))
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "b").rename(tmp_path / "a")
    await logs.poll()
    await first_read(logs)
    assert names(logs) == ["m0"]


async def test_an_emptied_store_is_not_believed(tmp_path: Path) -> None:
    """A volume that is not mounted looks like that; the last good state is kept."""
    await write_models(tmp_path / "a", 2)
    logs = ModelLogs(FolderStore(tmp_path / "a"))
    await first_read(logs)
    shutil.rmtree(tmp_path / "a")
    (tmp_path / "a").mkdir()
    with pytest.raises(StoreIdentityLostError):
        await logs.poll()
    assert names(logs) == ["m0", "m1"]


async def test_two_registries_that_start_agree_on_the_identity(tmp_path: Path) -> None:
    """The one that creates it second takes the first one's."""
    one, other = ModelLogs(FolderStore(tmp_path)), ModelLogs(FolderStore(tmp_path))
    await first_read(one)
    await first_read(other)
    assert one.store_id == other.store_id != ""


async def test_asking_for_names_leaves_nothing_behind(tmp_path: Path) -> None:
    """A name without a log is not kept in memory."""
    logs = await write_models(tmp_path, 1)
    for number in range(50):
        assert not (await logs.refresh(f"unknown{number}")).exists
    await first_read(logs)
    assert names(logs) == ["m0"]
    assert len(logs._logs) == 1
