"""Tensors between numpy and the Open Inference Protocol's wire forms.

Raw bytes are little-endian and row-major; a BYTES element is a 4-byte
little-endian length and its bytes (OIP v2, "Tensor Data Types" and Triton's
binary tensor data extension).
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError

if TYPE_CHECKING:  # the command line has this module beside the package kserve, whose messages have the names of ours
    from penstock_common.contract import inference_pb2 as pb

NUMPY_DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "INT8": np.dtype("<i1"), "INT16": np.dtype("<i2"), "INT32": np.dtype("<i4"), "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"), "UINT16": np.dtype("<u2"), "UINT32": np.dtype("<u4"), "UINT64": np.dtype("<u8"),
    "BF16": np.dtype(ml_dtypes.bfloat16), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(np.object_),
}  # fmt: skip

#: The largest finite value of each float datatype: IEEE 754, and BF16, which is FP32 without its last 16 bits.
LARGEST_FLOATS = {
    "BF16": (2 - 2.0**-7) * 2.0**127,
    "FP16": 65504.0,
    "FP32": (2 - 2.0**-23) * 2.0**127,
    "FP64": sys.float_info.max,
}

#: OIP datatype -> field of InferTensorContents. FP16 and BF16 travel only as raw bytes.
CONTENTS_FIELDS: dict[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}  # fmt: skip

#: Of a tensor's shape, the rows included. numpy stops at 64; no model is near either.
MAX_DIMENSIONS = 16
#: Of one dimension and of all their product: far above what a message holds.
MAX_DIMENSION = 2**31 - 1

_LENGTH = struct.Struct("<I")


def kind_of(dtype: np.dtype[Any]) -> str:
    """Return numpy's letter for the kind of a type, which is ``f`` for BF16 too; numpy itself does not know it."""
    return "f" if dtype == NUMPY_DTYPES["BF16"] else dtype.kind


def widened(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of BF16 as FP32, for code that does not know it; others as they are."""
    return array.astype(np.float32) if array.dtype == NUMPY_DTYPES["BF16"] else array


def pack_bytes(elements: Sequence[bytes]) -> bytes:
    """BYTES elements as raw tensor data."""
    return b"".join([part for e in elements for part in (_LENGTH.pack(len(e)), e)])


def unpack_bytes(raw: bytes, count: int, *, where: str = "tensor") -> list[bytes]:
    """``count`` BYTES elements out of raw tensor data.

    Raises:
        PenstockError: 400 ``bad-tensor`` where lengths and data disagree.
    """
    elements: list[bytes] = []
    at = 0
    end = len(raw)
    for _ in range(count):
        if at + 4 > end:
            raise _bad(where, f"ends after {len(elements)} of {count} BYTES elements")
        (size,) = _LENGTH.unpack_from(raw, at)
        at += 4 + size
        if at > end:
            raise _bad(where, f"element {len(elements)} claims {size} bytes, more than there are")
        elements.append(raw[at - size : at])
    if at != end:
        raise _bad(where, f"has {end - at} bytes more than its {count} elements")
    return elements


def to_raw(array: NDArray[np.generic], datatype: str) -> bytes:
    """An array as raw tensor data. BYTES arrays hold ``bytes`` objects."""
    if datatype == "BYTES":
        return pack_bytes(array.ravel().tolist())
    return np.ascontiguousarray(array, dtype=NUMPY_DTYPES[datatype]).tobytes()


def from_raw(raw: bytes, datatype: str, shape: Sequence[int], *, where: str = "tensor") -> NDArray[np.generic]:
    """An array (read-only for fixed-size types) of ``shape`` from raw tensor data.

    Raises:
        PenstockError: 400 ``bad-tensor`` for an unknown datatype, a shape out of bounds or a wrong length.
    """
    dtype = _dtype(datatype, where)
    count = _count(shape, where)
    if datatype == "BYTES":
        if 4 * count > len(raw):  # before memory is taken for what is not there
            raise _bad(where, f"{count} BYTES elements need at least {4 * count} bytes, got {len(raw)}")
        array = np.empty(count, dtype=np.object_)
        array[:] = unpack_bytes(raw, count, where=where)
        return array.reshape(shape)
    if len(raw) != count * dtype.itemsize:
        raise _bad(where, f"{datatype} of shape {list(shape)} needs {count * dtype.itemsize} bytes, got {len(raw)}")
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


def input_arrays(request: pb.ModelInferRequest) -> dict[str, NDArray[np.generic]]:
    """The inputs of a request by name, from raw contents or typed contents.

    Raises:
        PenstockError: 400 ``bad-tensor``.
    """
    tensors, raw = request.inputs, request.raw_input_contents
    if raw and len(raw) != len(tensors):
        raise _bad("input", f"{len(tensors)} tensors but {len(raw)} raw contents; send raw contents for all or none")
    arrays: dict[str, NDArray[np.generic]] = {}
    for i, tensor in enumerate(tensors):
        where = f"input {tensor.name!r}"
        if tensor.name in arrays:
            raise _bad(where, "is given twice")
        shape = list(tensor.shape)
        if raw:
            arrays[tensor.name] = from_raw(raw[i], tensor.datatype, shape, where=where)
        else:
            arrays[tensor.name] = _from_contents(tensor.contents, tensor.datatype, shape, where)
    return arrays


def _from_contents(
    contents: pb.InferTensorContents, datatype: str, shape: Sequence[int], where: str
) -> NDArray[np.generic]:
    dtype = _dtype(datatype, where)
    field = CONTENTS_FIELDS.get(datatype)
    if field is None:
        raise _bad(where, f"{datatype} travels only as raw contents")
    values = getattr(contents, field)
    if len(values) != _count(shape, where):
        raise _bad(where, f"shape {list(shape)} does not fit the {len(values)} elements in {field}")
    if datatype == "BYTES":
        array = np.empty(len(values), dtype=np.object_)
        array[:] = list(values)
        return array.reshape(shape)
    try:
        return np.array(values, dtype=dtype).reshape(shape)
    except OverflowError:
        raise _bad(where, f"a value in {field} is out of range for {datatype}") from None


def _count(shape: Sequence[int], where: str) -> int:
    """The number of elements; refuses shapes that numpy would not take."""
    if len(shape) > MAX_DIMENSIONS:
        raise _bad(where, f"has {len(shape)} dimensions, {MAX_DIMENSIONS} are allowed")
    if any(not 0 <= size <= MAX_DIMENSION for size in shape):
        raise _bad(where, f"shape {list(shape)} has a dimension that is not from 0 to {MAX_DIMENSION}")
    count = math.prod(shape)
    # The others of a shape that has a 0 still count for numpy.
    if math.prod(size for size in shape if size) > MAX_DIMENSION:
        raise _bad(where, f"shape {list(shape)} has more than {MAX_DIMENSION} elements")
    return count


def _dtype(datatype: str, where: str) -> np.dtype[np.generic]:
    try:
        return NUMPY_DTYPES[datatype]
    except KeyError:
        known = ", ".join(NUMPY_DTYPES)
        raise _bad(where, f"unknown datatype {datatype!r}; known are {known}") from None


def _bad(where: str, what: str) -> PenstockError:
    return PenstockError(400, "bad-tensor", f"{where}: {what}.")
