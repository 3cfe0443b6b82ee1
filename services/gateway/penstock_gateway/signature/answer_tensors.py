"""A model's outputs as arrays, checked against its signature: what does not fit is the model's fault."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.dimensions import fits, wire_shape
from penstock_common.errors import PenstockError
from penstock_common.manifest import Output
from penstock_common.tensors import NUMPY_DTYPES, from_raw, widened
from penstock_gateway.signature.rows import RawOutputs


def answer_array(outputs: RawOutputs, index: int, output: Output, rows: int, model: str) -> NDArray[Any]:
    """The output at an index as an array ``[rows, *shape]``; a dimension that varies is what the model made it, and BF16 is FP32.

    Raises:
        PenstockError: 500 ``bad-model-answer`` if the data does not fit.
    """
    raw = outputs.tensors[index]
    shape = wire_shape(output.shape, batch=False) if outputs.shapes is None else outputs.shapes[index]
    count = _bytes_count(raw) if output.datatype == "BYTES" else len(raw) // NUMPY_DTYPES[output.datatype].itemsize
    try:
        if not fits(shape, output.shape):
            raise ValueError
        return widened(from_raw(raw, output.datatype, [count])).reshape([rows, *shape])
    except (PenstockError, ValueError):
        what = f"{len(raw)} bytes that do not fit {rows} rows of '{output.name}' {output.shape}"
        raise bad_answer(model, what) from None


def check_finite(array: NDArray[Any], name: str, model: str) -> None:
    """Refuse NaN and infinity, which JSON cannot write.

    Raises:
        PenstockError: 500 ``bad-model-answer``.
    """
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise bad_answer(model, f"'{name}' with a value that is not a finite number")


def bad_answer(model: str, what: str) -> PenstockError:
    """The error for an answer that its model should not have given."""
    text = f"Model '{model}' answered {what}. The request was fine; tell the model's owner."
    return PenstockError(500, "bad-model-answer", text)


def _bytes_count(raw: bytes) -> int:
    count = at = 0
    while at + 4 <= len(raw):
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
        count += 1
    return count
