"""Tables of the command line."""

from __future__ import annotations

import pytest
from rich.console import Console

from penstock_cli import terminal


def test_names_are_whole_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else a row says is wrapped."""
    narrow = Console(width=40, record=True)
    monkeypatch.setattr(terminal, "console", narrow)
    terminal.print_table("services", [{"service": "image-classification", "what": "what a photograph shows " * 5}])
    printed = narrow.export_text()
    assert "image-classification" in printed
    assert printed.count("photograph") == 5
