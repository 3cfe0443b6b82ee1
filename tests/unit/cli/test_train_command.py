"""``penstock train``: the training program takes the place of the command line."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock_cli.__main__ import app


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that were executed, of an installation without tokens."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: commands.append([program, *arguments]))
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    monkeypatch.setenv("PENSTOCK_REGISTRY_URL", "http://registry:1")
    monkeypatch.delenv("PENSTOCK_REGISTRY_TOKEN_FILE", raising=False)
    return commands


@pytest.mark.parametrize(
    "arguments",
    [
        ["text", "--data", "reviews.csv", "--name", "reviews"],
        ["spam", "--if-missing"],
        ["text", "--help"],
        ["--help"],
        [],
    ],
)
def test_all_arguments_are_passed_on(arguments: list[str], executed: list[list[str]]) -> None:
    """Also --help, since the program knows its options."""
    done = CliRunner().invoke(app, ["train", *arguments])
    assert done.exit_code == 0, done.output
    assert executed == [[sys.executable, sys.executable, "-m", "penstock_training", *arguments]]


def test_the_program_gets_the_registry_and_the_token_to_train(
    executed: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its environment; the token is that of the installation."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    (tmp_path / "registry-tokens").mkdir()
    (tmp_path / "registry-tokens" / "train").write_text("secret")
    assert CliRunner().invoke(app, ["train", "spam"]).exit_code == 0
    assert os.environ["PENSTOCK_REGISTRY_URL"] == "http://registry:1"
    assert os.environ["PENSTOCK_REGISTRY_TOKEN_FILE"] == str(tmp_path / "registry-tokens" / "train")


def test_without_the_training_package_it_says_so(executed: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that only administers does not need PyTorch."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["train", "spam"])
    assert (done.exit_code, executed) == (1, [])
    assert "pip install penstock-training" in done.output
