"""The recipes of the training package, run beside the command line, never in it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock_cli.programs import follow_program
from penstock_common.errors import PenstockError


class ExampleCall(msgspec.Struct):
    """A call of JSON or of a form; ``{model}`` stands for the model's name."""

    path: str
    body: dict[str, object] | None = None
    form: dict[str, str] | None = None
    save_as: str = ""


class Recipe(msgspec.Struct):
    """A service that can be added."""

    name: str
    what: str
    megabytes: int
    licence: str
    call: ExampleCall
    quality: str = ""


class _Progress(msgspec.Struct):
    progress: str


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
    return msgspec.json.decode(_answer(["list"], lambda _: None), type=list[Recipe])


def make(name: str, folder: Path, cache: Path, tell: Callable[[str], None]) -> Recipe:
    """Write a service's artifact into an empty folder.

    Args:
        cache: where packages that had to be fetched are kept.
        tell: is called with what is being done.

    Raises:
        PenstockError: 404 ``unknown-service``; 503 ``unreachable`` if its weights cannot be fetched, ``cannot-make``.
    """
    answer = _answer(["make", name, "--out", str(folder), "--cache", str(cache)], tell)
    return msgspec.json.decode(answer, type=Recipe)


def _answer(arguments: list[str], tell: Callable[[str], None]) -> bytes:
    """Run the program; return the last line of its output.

    Args:
        tell: is called with what the program says that it is doing.

    Raises:
        PenstockError: the one that the program printed; 503 ``cannot-make`` if it failed in any other way.
    """
    if importlib.util.find_spec("penstock_training") is None:
        text = "Services cannot be made here: penstock_training is not installed; pip install penstock-training."
        raise PenstockError(503, "cannot-make", text)

    def tell_progress(line: bytes) -> None:
        with contextlib.suppress(msgspec.DecodeError):  # an answer, or what a library prints
            tell(msgspec.json.decode(line, type=_Progress).progress)

    done = follow_program("penstock_training.recipes", arguments, tell_progress)
    if done.status == 0:
        return done.answer
    try:
        error = msgspec.json.decode(done.answer, type=_Failed).error
    except msgspec.DecodeError:
        text = f"The service could not be made (status {done.status}):\n{done.errors}"
        raise PenstockError(503, "cannot-make", text) from None
    raise PenstockError(error.status, error.code, error.detail)
