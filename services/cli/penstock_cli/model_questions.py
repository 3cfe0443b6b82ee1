"""What a model's file does not say: asked at a terminal, and else an error that names the option."""

from __future__ import annotations

import typer

from penstock_cli.manifest_draft import score_output
from penstock_cli.tensor_option import parse_input
from penstock_common.errors import PenstockError
from penstock_common.file_signature import FileSignature, FoundInput
from penstock_common.manifest import Task


def is_complete(found: FoundInput) -> bool:
    """Return whether the type and the shape of an input are known; a size may vary if it is known what a client sends."""
    if found.datatype is None or found.shape is None:
        return False
    return -1 not in found.shape or found.kind is not None


def ask_inputs(signature: FileSignature, *, interactive: bool) -> list[FoundInput]:
    """Return all inputs, with what the file does not say of them.

    Raises:
        PenstockError: 422 ``not-known`` naming the option, if nobody can be asked.
    """
    unknown = [found for found in signature.inputs if not is_complete(found)]
    if not interactive:
        options = " ".join(f"--input '{_example(found)}'" for found in unknown) or "--input 'x=FP32[4]'"
        names = ", ".join(_described(found) for found in unknown) or "anything of its inputs"
        raise PenstockError(
            422,
            "not-known",
            f"The file does not say {names}. Give the type and the fixed shape of one row, e.g. {options}.",
        )
    if not signature.inputs:
        text = typer.prompt("Inputs, separated by spaces, e.g. readings=FP32[4] temperature=FP32")
        return [parse_input(part) for part in text.split()]
    return [found if is_complete(found) else _asked(found) for found in signature.inputs]


def ask_labels(signature: FileSignature, task: Task | None) -> list[str]:
    """Ask for the names of the classes, if the file does not have them and may be a classifier."""
    if task not in (None, Task.CLASSIFICATION) or (signature.labels and not signature.numbered):
        return []
    found = score_output(signature.outputs or [])
    if found is None:
        return []
    question = f"The file gives {found.shape[0]} values for a row. "
    question += "Names of the classes" if found.probabilities else "If they are scores of classes: their names"
    return split_labels(typer.prompt(f"{question}, in their order, with commas; empty if unknown", default=""))


def split_labels(text: str) -> list[str]:
    """Return labels that are separated by commas."""
    return [label.strip() for label in text.split(",") if label.strip()]


def _asked(found: FoundInput) -> FoundInput:
    text = typer.prompt(f"{_described(found)} of {found.name or 'the input'} for one row, e.g. {_example(found)}")
    given = parse_input(text.rpartition("=")[2])
    return FoundInput(found.name, given.datatype, given.shape, found.kind, found.categories, found.max_length)


def _described(found: FoundInput) -> str:
    name = found.name or "its input"
    if found.shape is None:
        return f"the type and the shape of {name}"
    return f"the sizes of {name}, which is {found.datatype} {found.shape} with -1 for what varies"


def _example(found: FoundInput) -> str:
    shape = [4] if found.shape is None else [224 if size == -1 else size for size in found.shape]
    return f"{found.name or 'x'}={found.datatype or 'FP32'}{shape}".replace(" ", "")
