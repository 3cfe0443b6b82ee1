"""A model's outputs as arrays, checked against its signature: what does not fit is the model's fault."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Output
from penstock_common.tensors import NUMPY_DTYPES, from_raw


def answer_array(raw: bytes, output: Output, rows: int, model: str) -> NDArray[Any]:
    """One output as an array ``[rows, *shape]``; a dimension of -1 is what the model made it.

    Raises:
        PenstockError: 500 ``bad-model-answer`` if the data does not fit.
    """
    count = _bytes_count(raw) if output.datatype == "BYTES" else len(raw) // NUMPY_DTYPES[output.datatype].itemsize
    try:
        return from_raw(raw, output.datatype, [count]).reshape([rows, *output.shape])
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
