"""Drafts a manifest from the signature of a file and what its owner says; what is a guess gets a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import (
    Batching,
    Field,
    FieldKind,
    Format,
    Manifest,
    Output,
    Task,
    bad_manifest,
)
from penstock_common.manifest_values import check_manifest_values
from penstock_common.manifest_yaml import dump_plain_yaml

_MAX_LENGTH = 10_000
_FLOATS = ("BF16", "FP16", "FP32", "FP64")


@dataclass
class Draft:
    """A manifest, and comments by the key above which they stand."""

    manifest: Manifest
    notes: dict[str, list[str]] = field(default_factory=dict)

    def text(self) -> str:
        """Return ``model.yaml``."""
        parts = []
        for key, value in msgspec.to_builtins(self.manifest).items():
            if value == {}:
                continue
            parts += [f"# {note}\n" for note in self.notes.get(key, [])]
            parts.append(dump_plain_yaml({key: value}))
        return "".join(parts)


def draft_manifest(
    signature: FileSignature,
    format_: Format,
    file: str,
    *,
    task: Task | None,
    labels: Sequence[str],
    examples: list[dict[str, Any]],
) -> Draft:
    """Return the manifest of a file.

    Args:
        signature: has all inputs and outputs.
        task: None for what the signature suggests.
        labels: empty for those of the file.
        examples: empty for those of the signature, if it has any.

    Raises:
        PenstockError: 422 ``bad-manifest`` if what was given does not fit the file.
    """
    notes: dict[str, list[str]] = {}
    labels = list(labels) or signature.labels
    outputs = signature.outputs or []
    task = task or signature.task or _task(outputs, labels, notes)
    main = _main(outputs, task, labels)
    names = _unique([_clean(found.name, "input") for found in signature.inputs])
    inputs = [_input(found, name, notes) for found, name in zip(signature.inputs, names, strict=True)]
    postprocess = None
    if task is Task.CLASSIFICATION:
        labels, postprocess = _classes(outputs[main], labels, notes)
    elif task is Task.TENSOR and not labels:
        _suggest_classes(outputs[main], notes)
    if signature.numbered and labels == signature.labels and task is Task.CLASSIFICATION:
        notes["labels"] = ["The file has only the numbers of the classes; these may have names."]
    batching = Batching(1) if signature.rows == 1 else Batching(signature.best_rows or Batching().max_batch_size)
    if signature.rows == 1:
        notes["batching"] = [
            "The file takes one row at a time; if its export fixes that, one with a first dimension that varies could batch."
        ]
    try:
        manifest = Manifest(
            format=format_,
            file=file,
            task=task,
            inputs=inputs,
            outputs=_outputs(outputs, main, task, labels, postprocess),
            labels=labels if task is Task.CLASSIFICATION else [],
            postprocess=postprocess,
            stream=task is Task.GENERATION,
            batching=batching,
            description=signature.description,
            examples=examples or signature.examples,
        )
    except ValueError as err:
        raise bad_manifest(str(err)) from None
    check_manifest_values(manifest)
    return Draft(manifest, notes)


def score_output(outputs: Sequence[FoundOutput]) -> FoundOutput | None:
    """Return the output that may hold a score for each of several classes: the single one, if it is a row of floats."""
    floats = [found for found in outputs if found.datatype in _FLOATS and len(found.shape) == 1 and found.shape[0] > 1]
    return floats[0] if len(floats) == 1 else None


def _task(outputs: Sequence[FoundOutput], labels: Sequence[str], notes: dict[str, list[str]]) -> Task:
    if labels or any(found.probabilities for found in outputs):
        return Task.CLASSIFICATION
    if len(outputs) == 1 and outputs[0].datatype in _FLOATS and outputs[0].shape in ([], [1]):
        notes["task"] = ["A guess: the file gives one number for each row."]
        return Task.REGRESSION
    return Task.TENSOR


def _main(outputs: Sequence[FoundOutput], task: Task, labels: Sequence[str]) -> int:
    """Return the position of the output that an answer is made of."""
    if not outputs:
        raise PenstockError(422, "bad-manifest", "The file gives no outputs; name them with --output.")

    def suits(found: FoundOutput) -> bool:
        if task is Task.CLASSIFICATION:
            return found.probabilities
        return found.datatype in _FLOATS and found.shape in ([], [1])

    def may_suit(found: FoundOutput) -> bool:
        return task is Task.CLASSIFICATION and found.datatype in _FLOATS and found.shape == [len(labels)]

    for test in (suits, may_suit, lambda found: found.datatype in _FLOATS):
        position = next((i for i, found in enumerate(outputs) if test(found)), None)
        if position is not None and task is not Task.TENSOR:
            return position
    return 0


def _classes(found: FoundOutput, labels: list[str], notes: dict[str, list[str]]) -> tuple[list[str], str | None]:
    """Return the labels of a classification's first output, and what makes probabilities of it."""
    if len(labels) == 2 and found.shape in ([], [1]) and found.datatype in _FLOATS:
        notes["postprocess"] = ["A guess: the file gives one logit, that of the second label."]
        return labels, "sigmoid"
    if len(found.shape) != 1 or (labels and found.shape != [len(labels)]):
        raise bad_manifest(
            f"labels: there are {len(labels)} ({', '.join(labels)}); the file gives {found.datatype} {found.shape} for a row. "
            "Give as many labels, or --task tensor."
        )
    if not labels:
        notes["labels"] = ["The file has no names of its classes; these are their numbers."]
        labels = [str(number) for number in range(found.shape[0])]
    if found.probabilities:
        return labels, None
    notes["postprocess"] = ["A guess: the file gives scores, not probabilities. sigmoid if the labels are independent."]
    return labels, "softmax"


def _suggest_classes(found: FoundOutput, notes: dict[str, list[str]]) -> None:
    if found.datatype in _FLOATS and len(found.shape) == 1 and found.shape[0] > 1:
        notes["task"] = [
            f"If the {found.shape[0]} values are scores of classes: task: classification with labels, and postprocess: softmax."
        ]


def _input(found: FoundInput, name: str, notes: dict[str, list[str]]) -> Field:
    """A column [1] of the file is a scalar for clients."""
    datatype, shape = found.datatype or "", found.shape or []
    scalar = shape in ([], [1])
    kind = found.kind or (_scalar_kind(datatype) if scalar else FieldKind.TENSOR)
    max_length = found.max_length
    if found.note:
        notes.setdefault("inputs", []).append(f"{name}: {found.note}.")
    if kind is FieldKind.TEXT and max_length is None:
        max_length = _MAX_LENGTH
        notes.setdefault("inputs", []).append(f"{name}: max_length is a guess.")
    if kind is FieldKind.TENSOR and len(shape) == 3 and 3 in (shape[0], shape[2]):
        notes.setdefault("inputs", []).append(
            f"{name}: if this is a picture, kind: image with preprocess: image lets clients send files."
        )
    return Field(
        name,
        kind,
        datatype,
        shape=[*shape] if kind in (FieldKind.TENSOR, FieldKind.IMAGE) else [],
        max_length=max_length,
        categories=found.categories,
        required=found.required,
        max_elements=found.max_elements,
        source=found.name if found.name not in (None, name) else "",
    )


def _scalar_kind(datatype: str) -> FieldKind:
    if datatype in _FLOATS:
        return FieldKind.NUMBER
    if datatype == "BYTES":
        return FieldKind.TEXT
    return FieldKind.BOOLEAN if datatype == "BOOL" else FieldKind.INTEGER


def _outputs(
    outputs: Sequence[FoundOutput], main: int, task: Task, labels: Sequence[str], postprocess: str | None
) -> list[Output]:
    """The main output first; without names in the file, position is the source once the order is another."""
    order = [main, *[i for i in range(len(outputs)) if i != main]]
    first = {Task.CLASSIFICATION: "probabilities", Task.REGRESSION: "prediction", Task.TENSOR: "output"}.get(
        task, "text"
    )
    names = _unique([_clean(outputs[i].name, first if i == main else "output") for i in order])
    declared = []
    for i, name in zip(order, names, strict=True):
        found = outputs[i]
        shape = [] if found.shape == [1] else found.shape
        if i == main and postprocess == "sigmoid":
            shape = [len(labels)]
        source = (str(i) if main else "") if found.name is None else found.name if found.name != name else ""
        declared.append(Output(name, found.datatype, shape=[*shape], source=source))
    return declared


def _clean(name: str | None, otherwise: str) -> str:
    """Return a name for clients: letters, digits, ``_``, ``-`` and ``.``, with a letter first."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "_", name or "").strip("_")
    if not cleaned:
        return otherwise
    return (cleaned if cleaned[0].isalpha() else f"{otherwise}_{cleaned}")[:60]


def _unique(names: Iterable[str]) -> list[str]:
    taken: list[str] = []
    for name in names:
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.append(candidate)
    return taken
