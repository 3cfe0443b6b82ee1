"""A model's log: concurrent writers lose nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from pathlib import Path

import msgspec
import obstore
import pytest

from penstock_common.errors import PenstockError
from penstock_common.registry_models import AliasTarget, LogEntry, Model
from penstock_registry import model_log
from penstock_registry.model_log import ModelLogs
from penstock_registry.object_store import open_store


def set_alias(alias: str, version: int = 1) -> LogEntry:
    return LogEntry(0, "alias-set", "", alias=alias, targets=[AliasTarget(version)])


async def test_an_entry_is_appended_and_read_back(tmp_path: Path) -> None:
    """An entry that one process appends is read by another, with its time."""
    await ModelLogs(open_store(str(tmp_path))).append("m", lambda _: set_alias("production"))
    model = await ModelLogs(open_store(str(tmp_path))).refresh("m")
    assert model.revision == 1
    assert model.aliases == {"production": [AliasTarget(1)]}
    (entry,) = await ModelLogs(open_store(str(tmp_path))).entries("m")
    assert entry.at.endswith("Z")


async def test_the_loser_of_a_race_reads_the_winners_entry_and_tries_again(tmp_path: Path) -> None:
    """An entry written between a writer's read and its append costs a second try, which sees that entry."""
    store = open_store(str(tmp_path))
    winner = msgspec.json.encode(LogEntry(1, "alias-set", "", alias="a", targets=[AliasTarget(1)]))
    seen: list[int] = []

    def intention(model: Model) -> LogEntry:
        seen.append(model.revision)
        if model.revision == 0:
            obstore.put(store, "models/m/log/00000001.json", winner)
        return set_alias("b")

    model = await ModelLogs(store).append("m", intention)
    assert seen == [0, 1]
    assert model.revision == 2
    assert set(model.aliases) == {"a", "b"}
    assert [entry.alias for entry in await ModelLogs(store).entries("m")] == ["a", "b"]


async def test_an_intention_that_no_longer_holds_is_refused(tmp_path: Path) -> None:
    """A precondition is checked against the newest state, so a lost race cannot break it."""
    logs = ModelLogs(open_store(str(tmp_path)))
    await ModelLogs(open_store(str(tmp_path))).append("m", lambda _: set_alias("a"))

    def only_if_absent(model: Model) -> LogEntry:
        if "a" in model.aliases:
            raise PenstockError(412, "alias-moved", "another came first")
        return set_alias("a", 2)

    with pytest.raises(PenstockError, match="another came first"):
        await logs.append("m", only_if_absent)


async def test_a_checkpoint_replaces_the_entries_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new reader needs only the checkpoint and the entries after it."""
    monkeypatch.setattr(model_log, "CHECKPOINT_EVERY", 5)
    logs = ModelLogs(open_store(str(tmp_path)))
    for n in range(7):
        await logs.append("m", lambda _, n=n: set_alias(f"a{n}"))  # type: ignore[misc]
    for n in range(1, 6):
        (tmp_path / "models" / "m" / "log" / f"{n:08d}.json").unlink()
    assert await ModelLogs(open_store(str(tmp_path))).refresh("m") == await logs.refresh("m")


def write_many(folder: str, writer: int, count: int) -> None:
    async def run() -> None:
        logs = ModelLogs(open_store(folder))
        for n in range(count):
            await logs.append("m", lambda _, n=n: set_alias(f"w{writer}-{n}"))  # type: ignore[misc]

    asyncio.run(run())
    # obstore's threads may abort an interpreter that shuts down; by now everything is written.
    os._exit(0)


def test_eight_processes_append_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """Every entry of every writer is in the log once, and the numbers have no gap."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(tmp_path), w, 10)) for w in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [w.exitcode for w in writers] == [0] * 8
    entries = asyncio.run(ModelLogs(open_store(str(tmp_path))).entries("m"))
    assert [e.entry for e in entries] == list(range(1, 81))
    assert sorted(e.alias for e in entries) == sorted(f"w{w}-{n}" for w in range(8) for n in range(10))
