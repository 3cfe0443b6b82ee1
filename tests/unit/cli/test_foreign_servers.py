"""What TorchServe and Triton load is imported from where they have it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from penstock_cli.model_source import Placed, place
from penstock_common.errors import PenstockError
from penstock_common.manifest import Format

LIGHTGBM = b"tree\nversion=v4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artifact's folder that is still empty."""
    made = tmp_path / "artifact"
    made.mkdir()
    return made


def mar(path: Path, model: Any, **members: bytes) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": model}))
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


def refusal(source: str, folder: Path) -> str:
    with pytest.raises(PenstockError) as caught:
        place(source, folder)
    assert caught.value.code == "unsupported-model"
    return caught.value.detail


def test_the_file_of_an_archive_of_torchserve(tmp_path: Path, folder: Path) -> None:
    """By its content; that its handler did more is said."""
    source = mar(tmp_path / "m.mar", {"serializedFile": "net", "handler": "image_classifier"}, net=LIGHTGBM, other=b"x")
    placed = place(source, folder)
    assert (placed.format, placed.file) == (Format.LIGHTGBM, "net")
    assert "the handler image_classifier" in placed.remedy
    assert [path.name for path in folder.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"handler": "own.py"}, "names no serializedFile"),
        ([], "names no serializedFile"),
        ({"serializedFile": "absent"}, "'absent' is not in it"),
        ({"serializedFile": "../secret"}, "'../secret' is not in it"),
    ],
)
def test_an_archive_without_a_file(tmp_path: Path, folder: Path, model: Any, reason: str) -> None:
    """A crafted manifest copies nothing of this machine into an artifact."""
    (tmp_path / "secret").write_text("token")
    assert reason in refusal(mar(tmp_path / "m.mar", model, net=LIGHTGBM), folder)
    assert not list(folder.iterdir())


def test_the_newest_version_of_tritons_repository(tmp_path: Path, folder: Path) -> None:
    """By number, not by name."""
    for version, content in (("2", b"old"), ("10", LIGHTGBM)):
        (tmp_path / "net" / version).mkdir(parents=True)
        (tmp_path / "net" / version / "model.txt").write_bytes(content)
    (tmp_path / "net" / "config.pbtxt").touch()
    assert place(str(tmp_path / "net"), folder) == Placed(Format.LIGHTGBM, "model.txt")
    (tmp_path / "net" / "10" / "model.onnx").touch()
    assert "without one model.*" in refusal(str(tmp_path / "net"), folder)
