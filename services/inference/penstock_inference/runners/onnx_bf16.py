"""Runs an ONNX session that takes or gives BF16, which ONNX Runtime does not exchange with numpy."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, OrtValue

from penstock_common.tensors import NUMPY_DTYPES

_BF16 = NUMPY_DTYPES["BF16"]
#: ``TensorProto.BFLOAT16`` of onnx.proto.
_ONNX_TYPE = 16


def run_with_bf16(
    session: InferenceSession, names: Sequence[str], feeds: Mapping[str | None, NDArray[Any]]
) -> list[NDArray[Any]]:
    """Return the outputs of these names, given the inputs by name."""
    # The values refer to the arrays, which must live as long.
    arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
    values = session.run_with_ort_values(list(names), {name: _value(array) for name, array in arrays.items()})
    return [_array(value) for value in values]


def _value(array: NDArray[Any]) -> OrtValue:
    if array.dtype == _BF16:
        return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _ONNX_TYPE)
    return OrtValue.ortvalue_from_numpy(array)


def _array(value: OrtValue) -> NDArray[Any]:
    if value.data_type() != "tensor(bfloat16)":
        return np.asarray(value.numpy())
    shape = value.shape()
    bits = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape))
    return np.frombuffer(bits, _BF16).reshape(shape)
