"""The recipes of the training package, run beside the command line, never in it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import msgspec

from penstock_common.errors import PenstockError

_LAST_LINES = 10


class ExampleCall(msgspec.Struct):
    """A call of JSON or of a form; ``{model}`` stands for the model's name."""

    path: str
    body: dict[str, object] | None = None
    form: dict[str, str] | None = None


class Recipe(msgspec.Struct):
    """A service that can be added."""

    name: str
    what: str
    megabytes: int
    licence: str
    call: ExampleCall


class _Error(msgspec.Struct):
    status: int
    code: str
    detail: str


class _Failed(msgspec.Struct):
    error: _Error


def list_recipes() -> list[Recipe]:
    """Return all services that can be added.

    Raises:
        PenstockError: 503 ``cannot-make`` if the training package is not installed.
    """
    return msgspec.json.decode(_answer(["list"]), type=list[Recipe])


def make(name: str, folder: Path, cache: Path) -> Recipe:
    """Write a service's artifact into an empty folder.

    Args:
        cache: where packages that had to be fetched are kept.

    Raises:
        PenstockError: 404 ``unknown-service``; 503 ``unreachable`` if its weights cannot be fetched, ``cannot-make``.
    """
    return msgspec.json.decode(_answer(["make", name, "--out", str(folder), "--cache", str(cache)]), type=Recipe)


def _answer(arguments: list[str]) -> bytes:
    """Run the program; return the last line of its output.

    Raises:
        PenstockError: the one that the program printed; 503 ``cannot-make`` if it failed in any other way.
    """
    if importlib.util.find_spec("penstock_training") is None:
        text = "Services cannot be made here: penstock_training is not installed; pip install penstock-training."
        raise PenstockError(503, "cannot-make", text)
    command = [sys.executable, "-m", "penstock_training.recipes", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 (our own program)
    last = (done.stdout.splitlines() or [b""])[-1]
    if done.returncode == 0:
        return last
    try:
        error = msgspec.json.decode(last, type=_Failed).error
    except msgspec.DecodeError:
        lines = "\n".join(done.stderr.decode(errors="replace").splitlines()[-_LAST_LINES:])
        text = f"The service could not be made (status {done.returncode}):\n{lines}"
        raise PenstockError(503, "cannot-make", text) from None
    raise PenstockError(error.status, error.code, error.detail)
