"""What ``penstock up`` prints at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock_cli.__main__ import app
from penstock_cli.commands import installation


class Started:
    """An installation that has started."""

    def up(self, workers: int, *, tls: bool) -> None:
        """Nothing is left to do."""


def test_it_says_how_services_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the program by the path by which it was called, so that the line can be pasted."""
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    monkeypatch.setattr(installation, "_installation", lambda settings: Started())
    monkeypatch.setattr(sys, "argv", [".venv/bin/penstock", "up"])
    (tmp_path / "key").write_text("psk_a_b")
    printed = CliRunner().invoke(app, ["up"]).stdout
    assert "export KEY=psk_a_b\n" in printed
    assert ".venv/bin/penstock add chat; .venv/bin/penstock add --list names them all" in printed
