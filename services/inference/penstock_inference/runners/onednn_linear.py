"""Linear layers on the CPU by oneDNN, if wanted with weights in the order in which it reads them.

PyTorch multiplies matrices of FP32 by MKL. With 576 x 1536 weights on one core of an AMD EPYC with AVX-512, a row took
0.19 ms of CPU time by MKL and 0.11 ms so, 8 rows 0.36 and 0.16 ms, and the 128 of a prompt 2.2 and 1.0 ms. In BF16, where
PyTorch uses oneDNN itself, the order alone makes 0.13 ms for a row 0.07 ms.
"""

from __future__ import annotations

import bisect
import ctypes
from collections import Counter

import torch
from torch import nn

#: Rows of a product: few, because oneDNN compiles a program of half a megabyte for each.
_SIZES: tuple[int, ...] = (*range(1, 9), 12, 16, 24, 32, 48, 64, 96, 128)


class OneDnnLinear(nn.Module):
    """Computes what ``nn.Linear`` does, up to the order of its sums. Its gradients cannot be computed.

    Args:
        reorder: keep the weight in oneDNN's own order, which only oneDNN can read. Without that the layer uses the weight
            as it is, which is faster than ``nn.Linear`` too, and takes no memory.
    """

    def __init__(self, linear: nn.Linear, *, reorder: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach()
        # For 8 rows; it is the right order for a single row and for a prompt as well.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, 8) if reorder else weight
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.numel() // self.in_features in _SIZES:
            return self._product(inputs)
        rows = inputs.reshape(-1, self.in_features)
        products = [self._padded_product(part) for part in rows.split(_SIZES[-1])]
        return torch.cat(products).view(*inputs.shape[:-1], self.out_features)

    def _padded_product(self, rows: torch.Tensor) -> torch.Tensor:
        count = rows.shape[0]
        return self._product(nn.functional.pad(rows, (0, 0, 0, padded_rows(count) - count)))[:count]

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return product


def padded_rows(rows: int) -> int:
    """Return how many rows are computed for so many, 128 at most."""
    return _SIZES[bisect.bisect_left(_SIZES, rows)]


def use_onednn(model: nn.Module, *, reorder: bool) -> None:
    """Replace the linear layers of a model that oneDNN can compute, and let it compile their programs.

    Args:
        reorder: the weights too. There are never two copies of all of them. One that is used elsewhere too keeps its
            order; that of the scores often is the embedding. Not for a model whose code reads weights besides calling
            their layers.
    """
    if not torch.backends.mkldnn.is_available():
        return
    dtypes = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        dtypes.add(torch.bfloat16)
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    kinds: dict[tuple[object, ...], OneDnnLinear] = {}
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            # Not a layer of a derived class, whose forward may do more.
            if type(layer) is nn.Linear and layer.weight.device.type == "cpu" and layer.weight.dtype in dtypes:
                own = OneDnnLinear(layer, reorder=reorder and uses[id(layer.weight)] == 1)
                setattr(parent, name, own)
                kind = own.weight.layout, own.weight.dtype, own.weight.shape, own.bias is None
                kinds[kind] = own
    ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what the layers had: of 540 MB of weights, 330
    with torch.inference_mode():
        for own in kinds.values():
            for size in _SIZES:
                own(torch.zeros(size, own.in_features, dtype=own.weight.dtype))
