"""A row of a model's signature as a type, against which msgspec checks a body while it parses it.

A body that does not fit is refused at the first value that differs, before memory is
taken for the rest: 8 MB of nested objects in a text field would otherwise occupy the
event loop for seconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_common.manifest import Field, Manifest
from penstock_common.tensors import NUMPY_DTYPES, kind_of


def row_type(manifest: Manifest) -> type[msgspec.Struct]:
    """A struct of the signature's fields in their order; an absent optional field is ``msgspec.UNSET``."""
    fields: list[Any] = []
    for i, field in enumerate(manifest.client_inputs):
        value = value_type(field)
        fields.append((f"f{i}", value) if field.required else (f"f{i}", value | msgspec.UnsetType, msgspec.UNSET))
    # A field's name need not be an identifier, and a required one may follow an optional one.
    names = {f"f{i}": field.name for i, field in enumerate(manifest.client_inputs)}
    return msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, kw_only=True, gc=False)


def value_type(field: Field) -> Any:
    """What JSON holds for one field of a row."""
    value: Any = str
    if field.datatype != "BYTES":
        # JSON's 1.0 is a whole number too.
        value = {"b": bool, "f": float}.get(kind_of(NUMPY_DTYPES[field.datatype]), int | float)
    for _ in field.shape:
        value = list[value]
    return value
