"""A model's log: concurrent writers lose nothing, and what is lost stays visible."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from datetime import date
from pathlib import Path

import msgspec
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.object_store.folder_store import FolderStore
from penstock_common.registry_models import AliasTarget, LogEntry, Version
from penstock_registry import log_shortcuts
from penstock_registry.model_log import Intention
from penstock_registry.model_logs import ModelLogs
from penstock_registry.model_state import ModelState
from tests.unit.registry.store_doubles import TestStore

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)


def register(state: ModelState) -> LogEntry:
    number = max(max(state.model.versions, default=0), state.last_version) + 1
    return LogEntry(0, "registered", "", version=Version("m", number, MANIFEST, [], ""))


def set_alias(alias: str, version: int = 1) -> Intention:
    return lambda _: LogEntry(0, "alias-set", "", alias=alias, targets=[AliasTarget(version)])


def entry_file(folder: Path, number: int) -> Path:
    return folder / "models" / "m" / "log" / f"{number:08d}.json"


async def write_versions(folder: Path, count: int) -> None:
    """Versions 1 to ``count``, each followed by its promotion: 2 * ``count`` entries."""
    logs = ModelLogs(FolderStore(folder))
    for version in range(1, count + 1):
        await logs.append("m", register)
        await logs.append("m", set_alias("production", version))


async def read_anew(folder: Path) -> ModelState:
    """The state as a registry that starts reads it."""
    return await ModelLogs(FolderStore(folder)).refresh("m")


async def test_an_entry_is_appended_and_read_back(tmp_path: Path) -> None:
    """An entry that one process appends is read by another, with its time and an id."""
    await write_versions(tmp_path, 1)
    state = await read_anew(tmp_path)
    assert (state.revision, state.model.aliases) == (2, {"production": [AliasTarget(1)]})
    entries = await ModelLogs(FolderStore(tmp_path)).entries("m")
    assert all(entry.at.endswith("Z") for entry in entries)
    assert len({entry.id for entry in entries}) == 2


async def test_the_loser_of_a_race_reads_the_winners_entry_and_tries_again(tmp_path: Path) -> None:
    """An entry written between a writer's read and its append costs a second try, which sees that entry."""
    await write_versions(tmp_path, 1)
    winner = LogEntry(3, "alias-set", "", alias="a", targets=[AliasTarget(1)])
    seen: list[int] = []

    def intention(state: ModelState) -> LogEntry:
        seen.append(state.revision)
        if state.revision == 2:
            entry_file(tmp_path, 3).write_bytes(msgspec.json.encode(winner))
        return set_alias("b")(state)

    state = await ModelLogs(FolderStore(tmp_path)).append("m", intention)
    assert seen == [2, 3]
    assert state.revision == 4
    assert set(state.model.aliases) == {"production", "a", "b"}


async def test_an_intention_that_no_longer_holds_is_refused(tmp_path: Path) -> None:
    """A precondition is checked against the newest state, so a lost race cannot break it."""
    await write_versions(tmp_path, 1)
    logs = ModelLogs(FolderStore(tmp_path))

    def only_if_absent(state: ModelState) -> LogEntry:
        if "production" in state.model.aliases:
            raise PenstockError(412, "alias-moved", "another came first")
        return set_alias("production")(state)

    with pytest.raises(PenstockError, match="another came first"):
        await logs.append("m", only_if_absent)


async def test_a_checkpoint_replaces_the_entries_before_it(tmp_path: Path) -> None:
    """A new reader needs only the checkpoint and the entries after it."""
    await write_versions(tmp_path, 12)
    whole = await read_anew(tmp_path)
    for number in range(1, 21):
        entry_file(tmp_path, number).unlink()
    assert await read_anew(tmp_path) == whole


@pytest.mark.parametrize("content", [b"", b"{", b'{"model": {"name": "other"}}'])
async def test_a_checkpoint_that_cannot_be_read_is_made_again_from_the_log(tmp_path: Path, content: bytes) -> None:
    """The state is that of the log, and the next reader finds a good checkpoint."""
    await write_versions(tmp_path, 12)
    whole = await read_anew(tmp_path)
    checkpoint = tmp_path / "models" / "m" / "state.json"
    checkpoint.write_bytes(content)
    assert await read_anew(tmp_path) == whole
    assert msgspec.json.decode(checkpoint.read_bytes(), type=ModelState) == whole


async def test_a_checkpoint_that_cannot_be_written_does_not_undo_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The append succeeds, and the checkpoint is written with a later one."""
    monkeypatch.setattr(log_shortcuts, "CHECKPOINT_EVERY", 2)
    store = TestStore(tmp_path)

    def no_checkpoints(method: str, key: str) -> None:
        if (method, key) == ("put", "models/m/state.json"):
            raise OSError("the store is out of order")

    store.before = no_checkpoints
    logs = ModelLogs(store)
    await logs.append("m", register)
    assert (await logs.append("m", register)).revision == 2
    store.before = lambda *_: None
    assert (await logs.append("m", register)).revision == 3
    checkpoint = tmp_path / "models" / "m" / "state.json"
    assert msgspec.json.decode(checkpoint.read_bytes(), type=ModelState).revision == 3


async def test_an_entry_whose_acknowledgement_was_lost_is_not_appended_twice(tmp_path: Path) -> None:
    """The store wrote the entry, then failed to say so: the entry that is there is the writer's own."""
    store = TestStore(tmp_path)

    def answer_lost(_method: str, _key: str) -> None:
        store.after = lambda *_: None
        raise TimeoutError("no answer")

    store.after = answer_lost
    state = await ModelLogs(store).append("m", register)
    assert (state.revision, list(state.model.versions)) == (1, [1])
    assert (await read_anew(tmp_path)).revision == 1


async def test_a_repeated_write_that_finds_its_own_entry_is_not_a_lost_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store's client repeats a write whose answer was lost, which answers that the object exists."""

    class Repeating(FolderStore):
        async def create(self, key: str, data: bytes) -> bool:
            await super().create(key, data)
            return await super().create(key, data)

    state = await ModelLogs(Repeating(tmp_path)).append("m", register)
    assert (state.revision, (await read_anew(tmp_path)).revision) == (1, 1)


async def test_a_write_that_did_not_happen_fails(tmp_path: Path) -> None:
    """The store's error reaches the caller, and there is no entry."""
    store = TestStore(tmp_path)

    def away(method: str, _key: str) -> None:
        if method == "create":
            raise TimeoutError("no answer")

    store.before = away
    with pytest.raises(TimeoutError):
        await ModelLogs(store).append("m", register)
    assert (await read_anew(tmp_path)).revision == 0


@pytest.mark.parametrize("loss", ["missing", "empty", "not JSON", "another number"])
async def test_a_lost_entry_is_set_aside_and_the_others_count(tmp_path: Path, loss: str) -> None:
    """Production stays at 8 though version 3's entry is lost, and the model says what it lacks."""
    await write_versions(tmp_path, 8)
    path = entry_file(tmp_path, 5)
    match loss:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "not JSON":
            path.write_bytes(b"\x00" * 400)
        case "another number":
            path.write_bytes(entry_file(tmp_path, 7).read_bytes())
    state = await read_anew(tmp_path)
    assert state.model.aliases["production"] == [AliasTarget(8)]
    assert list(state.model.versions) == [1, 2, 4, 5, 6, 7, 8]
    # Entry 6 promotes version 3, which is not there.
    assert [damage.entry for damage in state.model.damage] == [5, 6]


async def test_a_damaged_log_takes_entries_again_once_the_loss_is_given_up(tmp_path: Path) -> None:
    """409 until then; afterwards no number of a version is given twice."""
    await write_versions(tmp_path, 3)
    entry_file(tmp_path, 5).unlink()
    entry_file(tmp_path, 6).unlink()
    entry_file(tmp_path, 4).write_bytes(b"")
    logs = ModelLogs(FolderStore(tmp_path))
    with pytest.raises(PenstockError, match="repair m") as refused:
        await logs.append("m", register)
    assert (refused.value.status, refused.value.code) == (409, "model-damaged")

    def give_up(state: ModelState) -> LogEntry:
        return LogEntry(0, "repaired", "", lost=[damage.entry for damage in state.model.damage])

    assert (await logs.append("m", give_up)).model.damage == []
    assert max((await logs.append("m", register)).model.versions) > 3
    assert (await read_anew(tmp_path)).model.damage == []


async def test_an_entry_that_is_put_back_ends_the_damage(tmp_path: Path) -> None:
    """The same process notices, and its state is whole again."""
    await write_versions(tmp_path, 3)
    whole = await read_anew(tmp_path)
    kept = entry_file(tmp_path, 3).read_bytes()
    entry_file(tmp_path, 3).write_bytes(b"")
    logs = ModelLogs(FolderStore(tmp_path))
    assert (await logs.refresh("m")).model.damage
    entry_file(tmp_path, 3).write_bytes(kept)
    assert await logs.refresh("m") == whole


async def test_the_end_of_a_log_is_missed(tmp_path: Path) -> None:
    """The newest entries are gone: the model is damaged, and the next version does not take their number."""
    await write_versions(tmp_path, 3)
    entry_file(tmp_path, 5).unlink()
    entry_file(tmp_path, 6).unlink()
    logs = ModelLogs(FolderStore(tmp_path))
    (damage,) = (await logs.refresh("m")).model.damage
    assert (damage.entry, damage.reason) == (5, "entries 5 to 6 are missing")
    with pytest.raises(PenstockError, match="Entry 5"):
        await logs.append("m", register)


async def test_a_hole_of_millions_costs_nothing(tmp_path: Path) -> None:
    """A stray file with a large number is one loss, and is found without asking for each number before it."""
    await write_versions(tmp_path, 1)
    entry_file(tmp_path, 99_999_999).write_bytes(b"")
    store = TestStore(tmp_path)
    state = await ModelLogs(store).refresh("m")
    assert [damage.entry for damage in state.model.damage] == [3, 99_999_999]
    assert len(store.calls) < 20


@pytest.mark.parametrize("value", [float("nan"), float("inf"), date(2026, 1, 1), {1: 2}])
async def test_what_does_not_read_back_is_not_written(tmp_path: Path, value: object) -> None:
    """422, and no entry: JSON would turn it into something else."""

    def intention(state: ModelState) -> LogEntry:
        entry = register(state)
        assert entry.version is not None
        entry.version.lineage = {"value": value}
        return entry

    with pytest.raises(PenstockError) as refused:
        await ModelLogs(FolderStore(tmp_path)).append("m", intention)
    assert (refused.value.status, refused.value.code) == (422, "bad-request")
    assert (await read_anew(tmp_path)).revision == 0


async def test_an_entry_is_bounded(tmp_path: Path) -> None:
    """413 names the setting."""

    def intention(state: ModelState) -> LogEntry:
        entry = register(state)
        entry.why = "x" * 2000
        return entry

    with pytest.raises(PenstockError, match="PENSTOCK_REGISTRY_MAX_ENTRY_BYTES") as refused:
        await ModelLogs(FolderStore(tmp_path), max_entry_bytes=2000).append("m", intention)
    assert refused.value.status == 413


def write_many(folder: str, writer: int, count: int) -> None:
    async def run() -> None:
        logs = ModelLogs(FolderStore(Path(folder)))
        for n in range(count):
            await logs.append("m", set_alias(f"w{writer}-{n}"))

    asyncio.run(run())
    os._exit(0)


def test_eight_processes_append_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """Every entry of every writer is in the log once, and the numbers have no gap."""
    asyncio.run(write_versions(tmp_path, 1))
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(tmp_path), w, 10)) for w in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [w.exitcode for w in writers] == [0] * 8
    entries = asyncio.run(ModelLogs(FolderStore(tmp_path)).entries("m"))
    assert [e.entry for e in entries] == list(range(1, 83))
    assert sorted(e.alias for e in entries[2:]) == sorted(f"w{w}-{n}" for w in range(8) for n in range(10))
