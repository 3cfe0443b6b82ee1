"""A value of a manifest, such as a constant or an example, as an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Field
from penstock_common.tensors import NUMPY_DTYPES


def array_of(field: Field, value: Any) -> NDArray[Any]:
    """Return a value of one row, as JSON has it, in the field's datatype; texts as ``bytes`` in UTF-8."""
    if field.datatype != "BYTES":
        return np.array(value, dtype=NUMPY_DTYPES[field.datatype])
    texts = np.array(value, dtype=np.object_)
    encoded = np.empty(texts.size, dtype=np.object_)
    encoded[:] = [text.encode() for text in texts.ravel().tolist()]
    return encoded.reshape(texts.shape)
