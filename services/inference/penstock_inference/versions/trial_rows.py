"""Rows to try a model with before it serves: its examples, and plausible variations of the first."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from penstock_common.dimensions import MAX_ELEMENTS, check_named_sizes, is_size
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.manifest_shapes import shape_of
from penstock_common.preprocessing.audio_decoding import decode_audio
from penstock_common.tensors import NUMPY_DTYPES, kind_of
from penstock_common.wav_file import wav_file
from penstock_inference.engine.array_of import array_of
from penstock_inference.engine.message import Arrays

Shape = tuple[int, ...]
#: Of a row of each input, None for one that is absent.
Shapes = dict[str, Shape | None]

#: Of the sounds that are made up.
_SAMPLE_RATE = 16_000
#: Of a dimension that varies, if no example says.
_TYPICAL_SIZE = 32


def trial_rows(manifest: Manifest, count: int) -> Arrays:
    """Return ``count`` rows of one shape: the examples that have that of the first, then variations of the first.

    They are as different as fields allow.

    A variation stays within the field's bounds and categories. A whole number without bounds may be an index
    into a table of unknown size, so it only becomes smaller, or changes places with its neighbours.
    """
    examples = [example for example in manifest.examples if _shapes(manifest, example) == first_shapes(manifest)]
    batch: Arrays = {}
    for field in manifest.client_inputs:
        shape = first_shapes(manifest)[field.name]
        if shape is None:
            continue
        array = np.empty((count, *shape), dtype=NUMPY_DTYPES[field.datatype])
        for i in range(count):
            array[i] = _value(field, shape, examples, i)
        batch[field.name] = array
    return batch


def other_examples(manifest: Manifest) -> list[Arrays]:
    """Return the examples whose shapes are not those of the first, one row each."""
    first = first_shapes(manifest)
    others = [example for example in manifest.examples if _shapes(manifest, example) != first]
    return [trial_rows(structs.replace(manifest, examples=[example]), 1) for example in others]


def longer_row(manifest: Manifest, row: Arrays) -> Arrays | None:
    """Return the row with its padded dimensions twice as long; None if there is none, or bounds do not allow it."""
    padded = [(field, field.pad) for field in manifest.client_inputs if field.pad is not None and field.name in row]
    longer = dict(row)
    for field, pad in padded:
        longer[field.name] = np.concatenate([row[field.name]] * 2, axis=1 + pad.axis)
        if longer[field.name].size > (field.max_elements or MAX_ELEMENTS):
            return None
    return longer if padded else None


def first_shapes(manifest: Manifest) -> Shapes:
    """The shapes of the first example, or plausible ones without an example; None for an input that is absent."""
    return _shapes(manifest, manifest.examples[0] if manifest.examples else None)


def _shapes(manifest: Manifest, example: dict[str, Any] | None) -> Shapes:
    shapes: Shapes = {}
    for field in manifest.client_inputs:
        value = field.default if example is None else example.get(field.name, field.default)
        if value is not None:
            shapes[field.name] = tuple(shape_of(field, value))
        elif field.may_be_absent:
            shapes[field.name] = None
    given = [(field, shapes.get(field.name)) for field in manifest.client_inputs]
    sizes = check_named_sizes(given)
    typical = _typical_size(manifest)
    for field in manifest.client_inputs:
        if field.name not in shapes:
            shapes[field.name] = tuple(
                [size if is_size(size) else sizes.get(str(size), typical) for size in field.shape]
            )
    return shapes


def _typical_size(manifest: Manifest) -> int:
    """The size of dimensions that vary, small enough for the bounds of all inputs."""
    size = _TYPICAL_SIZE
    for field in manifest.client_inputs:
        limit = field.max_elements or MAX_ELEMENTS
        while size > 1 and math.prod([d if is_size(d) else size for d in field.shape]) > limit:
            size //= 2
    return size


def _value(field: Field, shape: Shape, examples: list[dict[str, Any]], row: int) -> Any:
    if row < len(examples):
        given = examples[row].get(field.name, field.default)
    else:
        given = examples[0].get(field.name, field.default) if examples else field.default
    variation = 0 if row < len(examples) else row
    match field.kind:
        case FieldKind.IMAGE if field.has_images:
            return [_image(image, variation) for image in given or [None] * shape[0]]
        case FieldKind.IMAGE:
            return _image(given, variation)
        case FieldKind.AUDIO:
            return _audio(field, given, variation)
        case FieldKind.TEXT:
            return _text(field, "warm up the model" if given is None else given, variation)
        case FieldKind.CATEGORY:
            categories = field.categories or [""]
            first = 0 if given is None else categories.index(given)
            return categories[(first + variation) % len(categories)].encode()
        case FieldKind.TENSOR:
            return _tensor(field, shape, given, variation)
        case FieldKind.BOOLEAN:
            return bool(given) ^ bool(variation % 2)
        case FieldKind.INTEGER:
            return _whole_number(field, given, variation)
        case _:
            return _number(field, given, variation)


def _image(given: str | None, variation: int) -> bytes:
    """An image, its negative, and a darker one; a gradient if there is no example."""
    # Imported here because only image models need Pillow.
    from PIL import Image, ImageOps

    if given is not None:
        encoded = base64.b64decode(given.rpartition(",")[2])
        if not variation:
            return encoded
        picture = Image.open(io.BytesIO(encoded)).convert("RGB")
    else:
        picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    if variation % 2:
        picture = ImageOps.invert(picture)
    if variation > 1:
        picture = picture.point(lambda value: value // variation)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _audio(field: Field, given: str | None, variation: int) -> bytes:
    """A sound, and others that are longer if there is room, begin elsewhere and are quieter; if there is none, a chirp."""
    encoded = None if given is None else base64.b64decode(given.rpartition(",")[2])
    if encoded is not None and not variation:
        return encoded
    most = int(field.most_seconds * _SAMPLE_RATE)
    samples: NDArray[Any]
    if encoded is not None:
        samples = decode_audio(encoded, _SAMPLE_RATE, field.most_seconds)
    else:
        seconds = np.arange(min(_SAMPLE_RATE, most)) / _SAMPLE_RATE
        samples = 0.5 * np.sin(2 * np.pi * (200 + 800 * seconds) * seconds)
    start = variation * len(samples) // 4
    longer = np.concatenate([samples[start:], samples[:start], samples[: variation * len(samples) // 4]])
    return wav_file(longer[:most] / (1 + variation), _SAMPLE_RATE)


def _text(field: Field, given: str, variation: int) -> bytes:
    """The words in another order, and more of them if there is room."""
    words = given.split(" ")
    start = variation % len(words)
    text = " ".join([*words[start:], *words[:start], *words[:variation]])
    return text[: field.max_length].encode()


def _number(field: Field, given: float | None, variation: int) -> float:
    low = -np.inf if field.minimum is None else field.minimum
    high = np.inf if field.maximum is None else field.maximum
    base = float(np.clip(0.0, low, high)) if given is None else float(given)
    step = (high - low) / 8 if np.isfinite(high - low) else max(abs(base) / 4, 0.25)
    up, down = base + variation * step, base - variation * step
    return up if up <= high else max(down, low)


def _whole_number(field: Field, given: int | None, variation: int) -> int:
    base = int(np.clip(0, field.minimum, field.maximum)) if given is None else int(given)
    low = min(base, 0) if field.minimum is None else int(field.minimum)
    high = base if field.maximum is None else int(field.maximum)
    return low + (base - low + variation) % (high - low + 1)


def _tensor(field: Field, shape: Shape, given: Any, variation: int) -> NDArray[Any]:
    dtype = NUMPY_DTYPES[field.datatype]
    if dtype == NUMPY_DTYPES["BYTES"]:
        texts = np.full(shape, b"", dtype) if given is None else array_of(field, given)
        return np.roll(texts.ravel(), variation).reshape(shape)
    base = np.full(shape, field.minimum or 0, dtype) if given is None else array_of(field, given)
    if not variation:
        return base
    random = np.random.default_rng(variation)
    if kind_of(dtype) != "f":
        if field.minimum is not None and field.maximum is not None:
            return random.integers(int(field.minimum), int(field.maximum), shape, endpoint=True).astype(dtype)
        return random.permutation(base.ravel()).reshape(shape)
    base = base.astype(np.float64)
    spread = float(base.std()) or 1.0
    varied = base + random.normal(0, spread, shape)
    return np.clip(varied, field.minimum, field.maximum).astype(dtype)
