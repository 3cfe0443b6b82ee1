"""Arrays as tensors of PyTorch and back. PyTorch does not exchange BF16 with numpy, but the bits are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from penstock_common.tensors import NUMPY_DTYPES

_BF16 = NUMPY_DTYPES["BF16"]


def tensor_of(array: NDArray[Any]) -> torch.Tensor:
    """Return a tensor that shares the memory of an array."""
    if array.dtype == _BF16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Return an array that shares the memory of a tensor, which is on the CPU."""
    if tensor.dtype == torch.bfloat16:
        bits: NDArray[Any] = tensor.view(torch.int16).numpy().view(_BF16)
        return bits
    array: NDArray[Any] = tensor.numpy()
    return array
