"""What a manifest says of shapes, absent inputs, constants and padding: whether it makes sense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock_common.manifest import FILE_KINDS, Dimension, Field, Format, Manifest, Task

#: Formats whose files can do without an input.
_OPTIONAL_INPUTS = (Format.ONNX, Format.TORCHSCRIPT, Format.TRANSFORMERS, Format.CTRANSLATE2, Format.PYTHON)


def check_shapes(manifest: Manifest) -> None:
    """Check shapes, batch axes, padding, constants and inputs that may be absent.

    Raises:
        ValueError: naming the place and the remedy.
    """
    for field in manifest.inputs:
        where = f"inputs.{field.name}"
        _check_dimensions(field.shape, f"{where}.shape")
        _check_presence(manifest, field, where)
        _check_batch_axis(manifest, field, where)
        if field.max_elements is not None and not field.varies:
            raise ValueError(f"{where}.max_elements: the shape {field.shape} does not vary; leave it out")
        if field.pad is not None:
            _check_pad(manifest, field, where)
        elif field.mask:
            raise ValueError(f"{where}.mask: nothing is padded; set `pad`, or leave the mask out")
    for output in manifest.outputs:
        where = f"outputs.{output.name}"
        _check_dimensions(output.shape, f"{where}.shape")
        if not 0 <= output.batch_axis <= len(output.shape) or (output.batch_axis and not manifest.batch):
            raise ValueError(f"{where}.batch_axis: {_axes(manifest, output.shape)}; got {output.batch_axis}")
    if not manifest.client_inputs:
        raise ValueError("inputs: all are constants; a client sends at least one")
    if manifest.top_k is not None and manifest.task is not Task.CLASSIFICATION:
        raise ValueError("top_k: only a classification has probabilities to choose from; leave it out")


def shape_of(field: Field, value: Any) -> list[int]:
    """The shape of one value of a row, as JSON has it; [] for kinds that have none.

    Raises:
        ValueError: the lists are not of the field's shape, or not rectangular.
    """
    shape = []
    level = [value]
    for wanted in field.shape:
        if not all(isinstance(part, list) for part in level):
            raise ValueError(f"is not nested lists of shape {field.shape}")
        size = wanted if isinstance(wanted, int) and wanted != -1 else len(level[0])
        if size < 1 or any(len(part) != size for part in level):
            raise ValueError(f"is not nested lists of shape {field.shape}, of one length at each depth")
        shape.append(size)
        level = [element for part in level for element in part]
    return shape


def _check_dimensions(shape: Sequence[Dimension], where: str) -> None:
    for size in shape:
        if isinstance(size, int) and size < 1 and size != -1:
            raise ValueError(f"{where}: {list(shape)} has a dimension that is neither 1 or more, nor -1, nor a name")


def _check_presence(manifest: Manifest, field: Field, where: str) -> None:
    if field.constant is not None:
        if field.default is not None or not field.required or field.pad is not None:
            raise ValueError(f"{where}.constant: clients do not send it, so it takes no default, required or pad")
        if field.kind in FILE_KINDS:
            raise ValueError(f"{where}.constant: a file cannot be one; use a tensor")
    elif field.may_be_absent:
        if manifest.preprocess is not None:
            raise ValueError(f"{where}.default: {manifest.preprocess.name} needs each of its fields; give a default")
        if manifest.format not in _OPTIONAL_INPUTS and manifest.task is not Task.GENERATION:
            raise ValueError(
                f"{where}.default: a {manifest.format} file needs each of its inputs; a field that is not required has a "
                "default"
            )


def _check_batch_axis(manifest: Manifest, field: Field, where: str) -> None:
    axis = field.batch_axis
    if axis is None:
        if field.constant is None:
            raise ValueError(
                f"{where}.batch_axis: null is for constants: the values of two clients would not fit one batch. Set "
                "batch: false if the model has no batch"
            )
    elif not 0 <= axis <= len(field.shape) or (axis and not manifest.batch):
        raise ValueError(f"{where}.batch_axis: {_axes(manifest, field.shape)}; got {axis}")
    elif axis and manifest.preprocess is not None and field.constant is None:
        raise ValueError(f"{where}.batch_axis: {manifest.preprocess.name} gives its tensors batch first; leave it out")


def _axes(manifest: Manifest, shape: Sequence[Dimension]) -> str:
    if not manifest.batch:
        return "the model has no batch (batch: false)"
    return f"the file's tensor has the axes 0 to {len(shape)}"


def _check_pad(manifest: Manifest, field: Field, where: str) -> None:
    pad = field.pad
    assert pad is not None
    if manifest.preprocess is not None:
        raise ValueError(f"{where}.pad: {manifest.preprocess.name} pads its own tensors; leave it out")
    if not manifest.batch:
        raise ValueError(
            f"{where}.pad: the model has no batch (batch: false) whose requests could differ; leave it out"
        )
    if pad.axis >= len(field.shape) or not isinstance(field.shape[pad.axis], str):
        raise ValueError(f"{where}.pad.axis: {pad.axis} is not a dimension of {field.shape} with a name; name it")
    if pad.sizes != sorted(set(pad.sizes)):
        raise ValueError(f"{where}.pad.sizes: {pad.sizes} do not grow; list them from the smallest to the largest")
    for other in manifest.client_inputs:
        if field.shape[pad.axis] not in other.shape:
            continue
        same = other.pad is not None and other.shape[other.pad.axis] == field.shape[pad.axis]
        if not same or (other.pad is not None and other.pad.sizes != pad.sizes):
            raise ValueError(
                f"{where}.pad: {other.name!r} has the size {field.shape[pad.axis]!r} too; pad it to the same sizes"
            )
    value_fits = isinstance(pad.value, str) if field.datatype == "BYTES" else not isinstance(pad.value, str)
    if not value_fits:
        raise ValueError(f"{where}.pad.value: {pad.value!r} is not a value of {field.datatype}")
