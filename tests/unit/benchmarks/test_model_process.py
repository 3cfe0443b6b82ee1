"""The benchmark of what a model's own process costs still runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import model_process


async def test_every_batch_goes_there_and_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the processes of its own program, which the tests of the pod do not use."""
    monkeypatch.setenv("PYTHONPATH", str(Path(model_process.__file__).parents[1]))
    await model_process.main(0.1)
    printed = capsys.readouterr().out
    assert all(name in printed for name, _, _ in model_process.CASES)
