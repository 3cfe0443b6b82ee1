"""Sizes of tensors against the shapes that a manifest declares, in which dimensions may vary and have names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from penstock_common.manifest import Dimension, Field, Manifest

#: Elements of a row whose shape varies, for an input without ``max_elements``: an image of 3 x 1182 x 1182.
MAX_ELEMENTS = 4 * 1024 * 1024


def is_size(dimension: Dimension) -> TypeGuard[int]:
    """Whether a dimension has a fixed size."""
    return isinstance(dimension, int) and dimension != -1


def fits(shape: Sequence[int], declared: Sequence[Dimension]) -> bool:
    """Whether the sizes are those declared; one that varies may be anything."""
    return len(shape) == len(declared) and all(
        size == wanted or not is_size(wanted) for size, wanted in zip(shape, declared, strict=True)
    )


def wire_shape(declared: Sequence[Dimension], *, batch: bool) -> list[int]:
    """The shape as the Open Inference Protocol's metadata has it: -1 for what varies, the rows of a batch first."""
    sizes = [size if isinstance(size, int) else -1 for size in declared]
    return [-1, *sizes] if batch else sizes


def check_elements(field: Field, shape: Sequence[int]) -> None:
    """Check the size of a row whose shape varies.

    Raises:
        ValueError: it is above the bound, which the text names.
    """
    limit = field.max_elements or MAX_ELEMENTS
    if field.varies and math.prod(shape) > limit:
        raise ValueError(f"a row of shape {list(shape)} has {math.prod(shape):,} elements, {limit:,} are allowed")


def check_named_sizes(given: Iterable[tuple[Field, Sequence[int] | None]]) -> dict[str, int]:
    """Check that a name has one size in all the inputs of a request.

    Args:
        given: the inputs with the shape of a row; None for one that is absent.

    Returns:
        The size of each name.

    Raises:
        ValueError: it has two, which the text names.
    """
    sizes: dict[str, int] = {}
    first: dict[str, str] = {}
    for field, shape in given:
        for name, size in zip(field.shape, shape, strict=True) if shape is not None else ():
            if not isinstance(name, str):
                continue
            if sizes.setdefault(name, size) != size:
                raise ValueError(
                    f"the size {name!r} is {sizes[name]} in '{first[name]}' and {size} in '{field.name}'; send one size"
                )
            first.setdefault(name, field.name)
    return sizes


def shapes_vary(manifest: Manifest) -> bool:
    """Whether the inputs of two requests may differ in shape, or one may lack an input that the other has."""
    return any(field.varies or field.may_be_absent for field in manifest.client_inputs)
