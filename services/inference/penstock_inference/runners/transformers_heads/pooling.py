"""How the vectors of a text's tokens become one, as the files of sentence-transformers in a folder say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from penstock_inference.runners.hugging_face import read_json
from penstock_inference.runners.runner import ModelMismatchError

#: Of states ``[rows, tokens, width]`` and a mask ``[rows, tokens, 1]``, FP32, that is 0 for padding: ``[rows, width]``.
Pool = Callable[[Tensor, Tensor], Tensor]

_MODULES = ("Transformer", "Pooling", "Normalize")


def _first(states: Tensor, mask: Tensor) -> Tensor:
    return states[:, 0]


def _maximum(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(mask == 0, -torch.inf).amax(1)


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)


def _mean_by_root(states: Tensor, mask: Tensor) -> Tensor:
    return (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9).sqrt()


def _weighted_mean(states: Tensor, mask: Tensor) -> Tensor:
    """Later tokens count more: the n-th n times."""
    positions = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)
    return _mean(states, mask * positions[None, :, None])


def _last(states: Tensor, mask: Tensor) -> Tensor:
    positions = torch.arange(states.shape[1], device=states.device)
    last = (mask[:, :, 0] * positions).argmax(1)
    return states[torch.arange(len(states), device=states.device), last]


#: In the order in which sentence-transformers joins their vectors.
_POOLS: dict[str, Pool] = {
    "cls": _first,
    "max": _maximum,
    "mean": _mean,
    "mean_sqrt_len": _mean_by_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


def pooling(folder: Path) -> Pool:
    """Return what makes one vector of those of the tokens: by the mean, if the folder does not say.

    Raises:
        ModelMismatchError: the folder has a module, or a kind of pooling, that is not served.
    """
    modules = [module["type"].rpartition(".")[2] for module in read_json(folder / "modules.json") or []]
    if others := [module for module in modules if module not in _MODULES]:
        raise ModelMismatchError(
            f"The folder's vectors pass through {', '.join(others)}, which is not served; served are "
            f"{', '.join(_MODULES)}. Export the whole model by torch.export or ONNX."
        )
    asked = _asked(read_json(folder / "1_Pooling" / "config.json")) or ["mean"]
    if unknown := [name for name in asked if name not in _POOLS]:
        raise ModelMismatchError(
            f"1_Pooling/config.json asks for {', '.join(unknown)}, which is not served; served are {', '.join(_POOLS)}."
        )
    pools = [pool for name, pool in _POOLS.items() if name in asked]
    normalized = "Normalize" in modules

    def pool(states: Tensor, mask: Tensor) -> Tensor:
        vectors = torch.cat([one(states, mask) for one in pools], dim=-1)
        return torch.nn.functional.normalize(vectors, dim=-1) if normalized else vectors

    return pool


def _asked(config: dict[str, Any]) -> list[str]:
    """Return what is asked for, such as ``mean``: by ``pooling_mode_mean_tokens: true`` or ``pooling_mode: mean``."""
    mode = config.get("pooling_mode", [])
    switches = [
        name.removeprefix("pooling_mode_") for name, on in config.items() if name.startswith("pooling_mode_") and on
    ]
    names = [*([mode] if isinstance(mode, str) else mode), *switches]
    return [name.removesuffix("_tokens").removesuffix("_token") for name in names]
