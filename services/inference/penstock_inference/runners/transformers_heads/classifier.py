"""Logits and probabilities of a classifier, whatever it reads, and the check of its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from penstock_common.manifest import Manifest, Task
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.runners.transformers_heads.runner import Run


def classifier(model: Any, to_tensors: Callable[[Sequence[NDArray[Any] | None]], Any]) -> Run:
    """Return a function whose outputs are ``probabilities`` and ``logits``, FP32 ``[rows, labels]``.

    Args:
        to_tensors: makes of the BYTES of a batch what the model takes.
    """
    # A lone label, as a cross-encoder has it, would have the softmax 1 whatever it is.
    several_labels = model.config.problem_type == "multi_label_classification" or model.config.num_labels == 1

    def run(arrays: Sequence[NDArray[Any] | None]) -> dict[str, NDArray[Any]]:
        logits = model(**to_tensors(arrays)).logits.float()
        probabilities = torch.sigmoid(logits) if several_labels else torch.softmax(logits, -1)
        return {"probabilities": probabilities.cpu().numpy(), "logits": logits.cpu().numpy()}

    return run


def check_labels(manifest: Manifest, config: Any) -> None:
    """Check the labels against the folder's, unless these are only numbers.

    Raises:
        ModelMismatchError: they are others, or in another order.
    """
    named = [config.id2label[i] for i in range(config.num_labels)]
    if manifest.task is not Task.CLASSIFICATION or all(name.startswith("LABEL_") for name in named):
        return
    if named != manifest.labels:
        raise ModelMismatchError(
            f"The folder's labels are {', '.join(named)}, in this order; the manifest's are {', '.join(manifest.labels)}."
        )
