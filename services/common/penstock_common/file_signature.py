"""What a model's file says of itself, or shows when it runs: the result of ``python -m penstock_inference.signature``."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_common.manifest import FieldKind, Format, Task


class FoundInput(msgspec.Struct, omit_defaults=True):
    """An input of a file.

    Attributes:
        name: in the file; None if that does not name its inputs.
        datatype: of the Open Inference Protocol; None if the file does not say.
        shape: of one row, -1 for a dimension that varies; None if the file does not say.
        kind: what a client sends, if the file shows it.
        required: false if the file does without it.
        max_elements: of one row, if its shape varies; None for the bound of all models.
        note: why this is a guess; empty if it is not.
    """

    name: str | None = None
    datatype: str | None = None
    shape: list[int] | None = None
    kind: FieldKind | None = None
    categories: list[str] | None = None
    max_length: int | None = None
    max_elements: int | None = None
    note: str = ""
    required: bool = True


class FoundOutput(msgspec.Struct, omit_defaults=True):
    """An output of a file.

    Attributes:
        name: in the file; None if that does not name its outputs.
        shape: of one row.
        probabilities: in a run, every row was between 0 and 1 with the sum 1.
    """

    name: str | None
    datatype: str
    shape: list[int]
    probabilities: bool = False


class FileSignature(msgspec.Struct, omit_defaults=True):
    """The signature of a file.

    Attributes:
        outputs: None if the file does not say them, and its inputs are not known well enough for a run.
        rows: that it takes at once; -1 for any number.
        labels: of its classes in their order, if it has classes.
        numbered: the labels are only the numbers of the classes: the file does not have their names.
        best_rows: of a batch, beyond which more do not pay; 0 if the file does not show it.
        examples: rows that show what the inputs take, if that needs to be shown.
        tasks: that ``parameters.task`` of the manifest may name.
        no_run: why a run with zeros gave no answer; empty if it did, or if none was needed.
    """

    inputs: list[FoundInput]
    outputs: list[FoundOutput] | None = None
    rows: int = -1
    task: Task | None = None
    labels: list[str] = []
    numbered: bool = False
    description: str = ""
    no_run: str = ""
    best_rows: int = 0
    examples: list[dict[str, Any]] = []
    tasks: list[str] = []


class SignatureRequest(msgspec.Struct):
    """What to read.

    Attributes:
        folder: that has the file; nothing else of the machine is visible to the file's code.
        file: the path inside it.
        inputs: what the file does not say of its inputs, by name or in their order.
    """

    folder: str
    format: Format
    file: str
    inputs: list[FoundInput] = []


class Unreadable(msgspec.Struct):
    """The answer if there is no signature."""

    reason: str
