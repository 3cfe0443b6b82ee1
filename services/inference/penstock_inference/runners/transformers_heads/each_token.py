"""What happens after each token that a model writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers


class AfterEachToken(transformers.StoppingCriteria):
    """Calls a function after each token, and ends no answer."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        self._call()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def after_each_token(call: Callable[[], None]) -> transformers.StoppingCriteriaList:
    """Return what the library's ``generate`` takes as ``stopping_criteria`` to call a function after each token."""
    return transformers.StoppingCriteriaList([AfterEachToken(call)])
