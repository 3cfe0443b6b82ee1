"""What a load will need is what its manifest says, what it took before, or a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock_common.manifest import Manifest, Resources
from penstock_inference.versions import memory_needs
from penstock_inference.versions.memory_needs import MemoryNeeds

MB = 2**20


def test_a_measure_counts_more_than_a_guess_and_the_manifest_more_than_both(
    tmp_path: Path, regression: Manifest
) -> None:
    """Twice the files and 64 MB, then what the newest load took and a tenth (the files at least), then ``memory_mb``."""
    needs = MemoryNeeds(tmp_path / "memory.json")
    assert needs.of("a", regression, 100 * MB, 0) == (264 * MB, "estimated from its files")
    needs.remember("a", 900 * MB)
    needs.remember("a", 500 * MB)
    assert needs.of("a", regression, 100 * MB, 0) == (550 * MB, "as measured when it was last loaded")
    assert needs.of("a", regression, 600 * MB, 0).bytes == 600 * MB
    assert needs.of("b", regression, 100 * MB, 0).bytes == 264 * MB
    regression.resources = Resources(memory_mb=700)
    assert needs.of("a", regression, 100 * MB, 0) == (700 * MB, "as resources.memory_mb says")


def test_measures_outlive_the_pod(tmp_path: Path, regression: Manifest) -> None:
    """The next start on the same folder knows them."""
    MemoryNeeds(tmp_path / "memory.json").remember("a", 100)
    assert MemoryNeeds(tmp_path / "memory.json").of("a", regression, 0, 0).bytes == 110


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": "many"}', b"[]"])
def test_a_damaged_file_is_an_empty_one(content: bytes, tmp_path: Path, regression: Manifest) -> None:
    """It costs estimates, no start."""
    (tmp_path / "memory.json").write_bytes(content)
    needs = MemoryNeeds(tmp_path / "memory.json")
    assert needs.of("a", regression, 0, 0).source == "estimated from its files"
    needs.remember("a", 100)
    assert json.loads((tmp_path / "memory.json").read_bytes()) == {"a": 100}


def test_a_folder_that_cannot_be_written_costs_no_load(tmp_path: Path, regression: Manifest) -> None:
    """The measures hold until the pod ends."""
    needs = MemoryNeeds(tmp_path / "absent" / "memory.json")
    needs.remember("a", 100)
    assert needs.of("a", regression, 0, 0).bytes == 110


def test_the_newest_measures_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod that serves ever new versions does not remember them all; one that is loaded again is new."""
    monkeypatch.setattr(memory_needs, "_MAX_REMEMBERED", 2)
    needs = MemoryNeeds(tmp_path / "memory.json")
    for digest in "abac":
        needs.remember(digest, 100)
    assert json.loads((tmp_path / "memory.json").read_bytes()) == {"a": 100, "c": 100}
