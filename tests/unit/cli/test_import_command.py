"""``penstock import``: from a file to a checked artifact, with real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from penstock_cli.__main__ import app
from penstock_cli.model_questions import ask_inputs, ask_labels
from penstock_cli.tensor_option import parse_input
from penstock_common.errors import PenstockError
from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import MANIFEST_FILE, Task, parse_manifest


def penstock(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["import", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    """A classifier of three classes."""
    features = np.random.default_rng(0).normal(size=(60, 2))
    model = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=2, verbose=-1).fit(features, np.arange(60) % 3)
    model.booster_.save_model(tmp_path / "Irises v2.txt")
    return tmp_path / "Irises v2.txt"


def test_a_file_becomes_an_artifact_that_is_checked(trees: Path, tmp_path: Path) -> None:
    """The manifest, the check and the next command are shown; the name is that of the file."""
    done = penstock(trees, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["Irises v2.txt", MANIFEST_FILE]
    text = (tmp_path / "out" / MANIFEST_FILE).read_text()
    assert parse_manifest(text).labels == ["0", "1", "2"]
    for shown in (text.strip(), "A pod would serve", f"next: penstock push irises-v2 {tmp_path / 'out'}"):
        assert shown in done.stdout
    assert not list(tmp_path.glob(".import-*"))


def test_as_json_for_a_script(trees: Path, tmp_path: Path) -> None:
    """With the guesses and the check's report."""
    row = '{"input": [0.5, 1.5]}'
    options = ("--name", "irises", "--output", tmp_path / "out", "--labels", "a, b,c", "--example", row)
    done = penstock(trees, *options, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["name"], found["format"], found["task"]) == ("irises", "lightgbm", "classification")
    assert found["check"]["passed"] and found["check"]["examples"] == 1 and found["guesses"] == {}
    assert parse_manifest((tmp_path / "out" / MANIFEST_FILE).read_text()).labels == ["a", "b", "c"]


def test_what_the_file_does_not_say_is_an_option(tmp_path: Path) -> None:
    """Without a terminal, the error names it, and nothing is left behind."""
    torch.jit.trace(nn.Linear(4, 2).eval(), torch.zeros(2, 4)).save(str(tmp_path / "m.pt"))
    done = penstock(tmp_path / "m.pt", "--output", tmp_path / "out")
    assert done.exit_code == 1 and "--input 'input=FP32[4]'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]
    done = penstock(tmp_path / "m.pt", "--output", tmp_path / "out", "--input", "input=FP32[4]", "--task", "tensor")
    assert done.exit_code == 0, done.stderr


def test_an_unknown_file_and_what_does_not_fit_it_leave_nothing(trees: Path, tmp_path: Path) -> None:
    """The first is named with what is known."""
    (tmp_path / "m.bin").write_bytes(b"hello")
    done = penstock(tmp_path / "m.bin", "--output", tmp_path / "out")
    assert done.exit_code == 1 and "of no known kind" in done.stderr and "torch.export" in done.stderr
    done = penstock(trees, "--output", tmp_path / "out", "--labels", "a,b")
    assert done.exit_code == 1 and "the file gives FP64 [3]" in done.stderr
    done = penstock(trees, "--output", tmp_path / "out", "--example", '{"x": 1}')
    assert done.exit_code == 1 and "examples.0.x: the model has no such input" in done.stderr
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".import-*"))


def test_a_folder_that_exists_is_not_overwritten(trees: Path, tmp_path: Path) -> None:
    """It may be somebody's work."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    done = penstock(trees, "--output", tmp_path / "out")
    assert done.exit_code == 1 and "--output" in done.stderr


def test_at_a_terminal_only_what_is_unknown_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that the file describes is kept."""
    asked: list[str] = []

    def prompt(text: str, **options: object) -> str:
        asked.append(text)
        return "FP32[3,224,224]"

    monkeypatch.setattr(typer, "prompt", prompt)
    known, unknown = FoundInput("scale", "FP32", []), FoundInput("image", "FP32", [3, -1, -1])
    found = ask_inputs(FileSignature([known, unknown]), interactive=True)
    assert found == [known, FoundInput("image", "FP32", [3, 224, 224])]
    (question,) = asked
    assert "image" in question


@pytest.mark.parametrize(
    ("signature", "task", "questions"),
    [
        (FileSignature([], [FoundOutput("y", "FP32", [2])]), None, 1),
        (FileSignature([], [FoundOutput("y", "FP32", [2])]), Task.TENSOR, 0),
        (FileSignature([], [FoundOutput("y", "FP32", [2])], labels=["a", "b"]), None, 0),
        (FileSignature([], [FoundOutput("y", "FP32", [2])], labels=["0", "1"], numbered=True), None, 1),
        (FileSignature([], [FoundOutput("y", "FP32", [2, 2])]), None, 0),
    ],
)
def test_labels_are_asked_if_the_file_may_be_a_classifier_without_names(
    signature: FileSignature, task: Task | None, questions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything else would be a question about what is known."""
    monkeypatch.setattr(typer, "prompt", lambda text, **options: "cat, dog")
    assert ask_labels(signature, task) == (["cat", "dog"] if questions else [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x=FP32[3, 4]", FoundInput("x", "FP32", [3, 4])),
        ("FP32", FoundInput(None, "FP32", [])),
        ("a=b=BYTES[]", FoundInput("a=b", "BYTES", [])),
    ],
)
def test_a_tensor_is_written_as_one_word(text: str, found: FoundInput) -> None:
    """A name, a type and the shape of one row."""
    assert parse_input(text) == found


@pytest.mark.parametrize("text", ["x=FP33[3]", "x", "x=FP32[a]", "x=FP32[3"])
def test_a_tensor_that_is_not_one_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(PenstockError, match="readings=FP32"):
        parse_input(text)
