"""The values in a manifest, its defaults and examples, against the fields that they are for."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from penstock_common.architectures import FROM_PICTURES, check_architecture
from penstock_common.audio_format import AUDIO_FORMATS, audio_format
from penstock_common.dimensions import check_elements, check_named_sizes
from penstock_common.image_format import image_type
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Task, bad_manifest
from penstock_common.manifest_acceleration import check_acceleration
from penstock_common.manifest_service import check_service
from penstock_common.manifest_shapes import check_shapes, shape_of
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.preprocessing.steps import STEPS, model_tensors
from penstock_common.tensors import LARGEST_FLOATS

#: Bytes of an image or a sound whose field has no ``max_length``.
MAX_FILE_BYTES = 10_000_000

#: Formats whose models can stream.
STREAMING_FORMATS = (Format.PYTHON, Format.TRANSFORMERS, Format.ONNX)


def check_manifest_values(manifest: Manifest) -> None:
    """Check what a reader of the manifest takes for granted: bounds, steps, labels, defaults and examples.

    Raises:
        PenstockError: 422 ``bad-manifest``, naming the place and the remedy.
    """
    try:
        _check_manifest(manifest)
    except ValueError as err:
        raise bad_manifest(str(err)) from None


def _check_manifest(manifest: Manifest) -> None:
    for field in manifest.inputs:
        where = f"inputs.{field.name}"
        _check_bounds(field, where)
        if field.default is not None:
            check_value(field, field.default, f"{where}.default")
        if field.constant is not None:
            check_value(field, field.constant, f"{where}.constant")
    _check_generation(manifest)
    check_shapes(manifest)
    check_architecture(manifest)
    if manifest.stream and manifest.format not in STREAMING_FORMATS:
        raise ValueError(
            f"stream: {manifest.format} files answer at once; those of {', '.join(STREAMING_FORMATS)} can stream"
        )
    if manifest.stream and manifest.format is Format.ONNX and manifest.preprocess is None:
        raise ValueError(
            "stream: an onnx file answers each row of a preprocess step with a chunk, such as a sentence of piper; name "
            "the step, or leave stream out"
        )
    model_tensors(manifest)  # refuses a step, a parameter or a field that does not fit the others
    sources = [field.source for field in manifest.inputs if field.source]
    if len(set(sources)) != len(sources):
        raise ValueError(f"inputs: sources must differ, got {sources}")
    outputs = [output.name for output in manifest.outputs]
    if len(set(outputs)) != len(outputs):
        raise ValueError(f"outputs: names must differ, got {outputs}")
    _check_labels(manifest)
    _check_strings(manifest, Postprocessing(manifest).made_outputs())
    check_acceleration(manifest)
    check_service(manifest)
    if not manifest.deterministic and manifest.batching.max_batch_size != 1:
        raise ValueError(
            "deterministic: whether rows mix cannot be tried with a model that is random; set batching: {max_batch_size: 1}"
        )
    for number, example in enumerate(manifest.examples):
        _check_example(manifest.client_inputs, example, f"examples.{number}")


def check_value(field: Field, value: Any, where: str) -> None:
    """Check one value of a row as a client would send it in JSON.

    Raises:
        ValueError: if it does not fit the field's kind, bounds, categories or shape.
    """
    match field.kind:
        case FieldKind.TEXT:
            _check_text(field, value, where)
        case FieldKind.CATEGORY:
            if value not in (field.categories or ()):
                raise ValueError(f"{where}: {_shown(value)} is none of the categories")
        case FieldKind.IMAGE if field.has_images:
            _check_tensor(field, value, where)
        case FieldKind.IMAGE | FieldKind.AUDIO:
            _check_file(field, value, where)
        case FieldKind.TENSOR:
            _check_tensor(field, value, where)
        case _:
            _check_number(field, value, where)


def _check_bounds(field: Field, where: str) -> None:
    if field.minimum is not None and field.maximum is not None and field.minimum > field.maximum:
        raise ValueError(f"{where}: minimum {field.minimum:g} is above maximum {field.maximum:g}")
    if field.max_length is not None and field.max_length < 1:
        raise ValueError(f"{where}.max_length: {field.max_length} allows nothing; use 1 or more, or leave it out")
    if field.categories is not None and len(set(field.categories)) != len(field.categories):
        raise ValueError(f"{where}.categories: a category is named twice")


def _check_labels(manifest: Manifest) -> None:
    if len(set(manifest.labels)) != len(manifest.labels):
        raise ValueError("labels: a label is named twice")
    if manifest.task is Task.CLASSIFICATION and manifest.outputs[0].shape != [len(manifest.labels)]:
        output = manifest.outputs[0]
        raise ValueError(
            f"outputs.{output.name}.shape: a classification's first output has one probability for each of its "
            f"{len(manifest.labels)} labels, [{len(manifest.labels)}]; got {output.shape}"
        )


def _check_generation(manifest: Manifest) -> None:
    streams = manifest.stream and manifest.format is Format.TRANSFORMERS
    if manifest.task is not Task.GENERATION:
        if streams:
            raise ValueError("task: a transformers model that streams generates text; set task: generation")
        if manifest.generation is not None:
            raise ValueError(f"generation: is for task: generation; this task is {manifest.task}")
        return
    if not streams or not manifest.batch:
        raise ValueError(
            "task: text is generated by the format transformers as a stream of rows; set stream: true and leave out batch"
        )
    if not manifest.examples and not any(field.required for field in manifest.client_inputs):
        raise ValueError("examples: no input is required, so a trial needs to know which to give; add an example")


def _check_strings(manifest: Manifest, made: set[str]) -> None:
    """PyTorch has no tensors of strings, and XGBoost takes only numbers."""
    if manifest.format not in (Format.TORCH_EXPORT, Format.TORCHSCRIPT, Format.SAFETENSORS, Format.XGBOOST):
        return
    if manifest.architecture is not None and manifest.architecture.name in FROM_PICTURES:
        return
    for tensor in model_tensors(manifest):
        if tensor.datatype == "BYTES":
            raise ValueError(
                f"inputs.{tensor.name}: a {manifest.format} file takes no BYTES; name a preprocess step that turns them "
                f"into numbers ({', '.join(STEPS)})"
            )
    for output in manifest.outputs:
        if output.datatype == "BYTES" and output.name not in made:
            raise ValueError(f"outputs.{output.name}.datatype: a {manifest.format} file gives no BYTES")


def _check_example(fields: list[Field], example: dict[str, Any], where: str) -> None:
    names = {field.name for field in fields}
    for name in example.keys() - names:
        raise ValueError(f"{where}.{name}: the model has no such input; it has {', '.join(sorted(names))}")
    shapes = []
    for field in fields:
        if field.name in example:
            check_value(field, example[field.name], f"{where}.{field.name}")
        elif field.required:
            raise ValueError(f"{where}: {field.name!r} is missing; it has no default")
        value = example.get(field.name, field.default)
        shapes.append((field, None if value is None else shape_of(field, value)))
    try:
        check_named_sizes(shapes)
    except ValueError as err:
        raise ValueError(f"{where}: {err}") from None


def _check_text(field: Field, value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where}: {_shown(value)} is not a text; put it in quotes")
    if field.max_length is not None and len(value) > field.max_length:
        raise ValueError(f"{where}: {len(value)} characters, max_length is {field.max_length}")


def max_bytes(field: Field) -> int:
    """Return how large an image or a sound may be."""
    return field.max_length or MAX_FILE_BYTES


def _check_file(field: Field, value: Any, where: str) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{where}: {_shown(value)} is not a file of kind {field.kind}; give it in base64")
    try:
        data = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{where}: {_shown(value)} is not base64") from None
    if field.kind is FieldKind.IMAGE and image_type(data) is None:
        raise ValueError(f"{where}: the bytes are not a PNG, JPEG or WebP")
    if field.kind is FieldKind.AUDIO and audio_format(data) is None:
        raise ValueError(f"{where}: the bytes are not a {AUDIO_FORMATS}")
    if len(data) > max_bytes(field):
        raise ValueError(f"{where}: the file has {len(data)} bytes, {max_bytes(field)} are allowed")


def _check_tensor(field: Field, value: Any, where: str) -> None:
    try:
        check_elements(field, shape_of(field, value))
    except ValueError as err:
        raise ValueError(f"{where}: {_shown(value)}: {err}") from None
    _check_elements_of(field, value, len(field.shape), where)


def _check_elements_of(field: Field, value: Any, depth: int, where: str) -> None:
    if depth:
        for i, part in enumerate(value):
            _check_elements_of(field, part, depth - 1, f"{where}.{i}")
    elif field.kind is FieldKind.IMAGE:
        _check_file(field, value, where)
    elif field.datatype == "BYTES":
        _check_text(field, value, where)
    else:
        _check_number(field, value, where)


def _check_number(field: Field, value: Any, where: str) -> None:
    """A number or boolean of the field's datatype, within its bounds."""
    if field.datatype == "BOOL":
        if not isinstance(value, bool):
            raise ValueError(f"{where}: {_shown(value)} is neither true nor false")
        return
    is_float = field.datatype in LARGEST_FLOATS
    if isinstance(value, bool) or not isinstance(value, (int, float) if is_float else int):
        raise ValueError(f"{where}: {_shown(value)} is not {'a number' if is_float else 'a whole number'}")
    low, high = _range_of(field.datatype)
    low = low if field.minimum is None else max(low, field.minimum)
    high = high if field.maximum is None else min(high, field.maximum)
    if not low <= value <= high:  # false for NaN too
        raise ValueError(f"{where}: {_shown(value)} is not within {low:g} to {high:g}")


def _range_of(datatype: str) -> tuple[float, float]:
    """The smallest and the largest value of a numeric datatype."""
    if datatype in LARGEST_FLOATS:
        return -LARGEST_FLOATS[datatype], LARGEST_FLOATS[datatype]
    bits = int(datatype.rpartition("INT")[2])
    return (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
