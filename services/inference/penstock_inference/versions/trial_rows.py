"""Rows to try a model with before it serves: its examples, and plausible variations of the first."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.engine.message import Arrays


def trial_rows(manifest: Manifest, count: int) -> Arrays:
    """Return ``count`` rows: the examples first, then variations of the first example, as different as fields allow.

    A variation stays within the field's bounds and categories. A whole number without bounds may be an index
    into a table of unknown size, so it only becomes smaller, or changes places with its neighbours.
    """
    batch: Arrays = {}
    for field in manifest.inputs:
        array = np.empty((count, *field.shape), dtype=NUMPY_DTYPES[field.datatype])
        for i in range(count):
            array[i] = _value(field, manifest.examples, i)
        batch[field.name] = array
    return batch


def _value(field: Field, examples: list[dict[str, Any]], row: int) -> Any:
    if row < len(examples):
        given = examples[row].get(field.name, field.default)
    else:
        given = examples[0].get(field.name, field.default) if examples else field.default
    variation = 0 if row < len(examples) else row
    match field.kind:
        case FieldKind.IMAGE:
            return _image(given, variation)
        case FieldKind.TEXT:
            return _text(field, "warm up the model" if given is None else given, variation)
        case FieldKind.CATEGORY:
            categories = field.categories or [""]
            first = 0 if given is None else categories.index(given)
            return categories[(first + variation) % len(categories)].encode()
        case FieldKind.TENSOR:
            return _tensor(field, given, variation)
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


def _tensor(field: Field, given: Any, variation: int) -> NDArray[Any]:
    dtype = NUMPY_DTYPES[field.datatype]
    if dtype == NUMPY_DTYPES["BYTES"]:
        flat = np.array([b""] * int(np.prod(field.shape)) if given is None else _encoded(given), dtype=dtype)
        return np.roll(flat, variation).reshape(field.shape)
    base = np.full(field.shape, field.minimum or 0, dtype) if given is None else np.array(given, dtype)
    if not variation:
        return base
    random = np.random.default_rng(variation)
    if dtype.kind != "f":
        if field.minimum is not None and field.maximum is not None:
            return random.integers(int(field.minimum), int(field.maximum), field.shape, endpoint=True).astype(dtype)
        return random.permutation(base.ravel()).reshape(field.shape)
    spread = float(base.std(dtype=np.float64)) or 1.0
    varied = base + random.normal(0, spread, field.shape)
    return np.clip(varied, field.minimum, field.maximum).astype(dtype)


def _encoded(texts: Any) -> list[bytes]:
    """The texts of nested lists, flat, in UTF-8."""
    return [texts.encode()] if isinstance(texts, str) else [element for part in texts for element in _encoded(part)]
