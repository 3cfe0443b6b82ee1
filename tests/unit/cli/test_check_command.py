"""``penstock check``, and the check before ``penstock push``."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from penstock_cli import inference_programs
from penstock_cli.__main__ import app
from penstock_cli.commands import models
from penstock_common.check_report import BatchTime, CheckReport, StreamTime

GOOD = CheckReport(True, "", "onnx", 5 * 2**20, 0.25, 2**28, 2, [BatchTime(1, 2.0, 500.0)], 1, ["Add examples."])
BAD = CheckReport(False, "Output 'y' has another shape.")


class Version:
    version = 7


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was registered, with a registry that registers everything."""
    registered: list[str] = []

    def ask(settings: object, role: str, call: object) -> Version:
        registered.append(role)
        return Version()

    monkeypatch.setattr(models, "ask_registry", ask)
    return registered


def report(monkeypatch: pytest.MonkeyPatch, found: CheckReport) -> None:
    monkeypatch.setattr(inference_programs, "check", lambda folder: found)


def penstock(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_a_good_artifact_is_shown_as_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was measured and what could be better."""
    report(monkeypatch, GOOD)
    done = penstock("check", str(tmp_path))
    assert done.exit_code == 0
    for text in ("A pod would serve", "5.0 MB", "0.25 s", "256.0 MB", "2.00", "500", "best", "Add examples."):
        assert text in done.stdout


def test_a_zip_is_checked_and_pushed_as_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushed: list[str]
) -> None:
    """The check sees the files; the reason names the archive that the user gave."""
    path = tmp_path / "spam.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("spam/model.yaml", "format: onnx")
    seen: list[str] = []

    def check(folder: Path) -> CheckReport:
        seen.append((folder / "model.yaml").read_text())
        return BAD if len(seen) == 3 else GOOD

    monkeypatch.setattr(inference_programs, "why_not_here", lambda: "")
    monkeypatch.setattr(inference_programs, "check", check)
    assert penstock("check", str(path)).exit_code == 0
    assert penstock("push", "spam", str(path)).exit_code == 0 and pushed == ["publish"]
    done = penstock("push", "spam", str(path))
    assert done.exit_code == 1 and f"would not serve {path}" in done.stderr
    assert seen == ["format: onnx"] * 3


def test_streams_are_shown_instead_of_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each example of a model that streams."""
    report(monkeypatch, CheckReport(True, format="python", streams=[StreamTime(30, 12.5, 240.0)]))
    shown = penstock("check", str(tmp_path)).stdout
    for text in ("first chunk ms", "12.50", "240.0", "30"):
        assert text in shown
    assert "rows/s" not in shown


@pytest.mark.parametrize("found", [GOOD, BAD])
def test_as_json_the_report_is_complete(found: CheckReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says whether the artifact passed."""
    report(monkeypatch, found)
    done = penstock("check", str(tmp_path), "--json")
    assert json.loads(done.stdout) == msgspec.to_builtins(found)
    assert done.exit_code == (0 if found.passed else 1)


def test_a_bad_artifact_is_not_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushed: list[str]) -> None:
    """The reason is shown, and how to push it all the same."""
    report(monkeypatch, BAD)
    done = penstock("push", "spam", str(tmp_path))
    assert done.exit_code == 1 and not pushed
    assert BAD.reason in done.stderr and "--no-check" in done.stderr
    assert penstock("push", "spam", str(tmp_path), "--no-check").exit_code == 0
    assert pushed == ["publish"]


def test_a_machine_that_cannot_check_says_so_and_pushes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pushed: list[str]
) -> None:
    """A command line may be installed alone."""
    monkeypatch.setattr(inference_programs.importlib.util, "find_spec", lambda name: None)
    done = penstock("push", "spam", str(tmp_path))
    assert done.exit_code == 0 and pushed == ["publish"]
    assert "not checked: penstock_inference and torch are not installed here" in done.stderr
    assert penstock("check", str(tmp_path)).exit_code == 1


def test_a_program_that_ends_without_an_answer_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad settings of the pod are shown in the program's own words."""
    monkeypatch.setenv("PENSTOCK_INFERENCE_THREADS", "many")
    done = penstock("check", str(tmp_path))
    assert done.exit_code == 1
    assert "PENSTOCK_INFERENCE_THREADS" in done.stderr
