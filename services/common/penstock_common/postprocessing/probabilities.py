"""Turns logits into probabilities: ``softmax`` and ``sigmoid``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.manifest import Manifest, Output
from penstock_common.postprocessing.step import Batch, NoParams, Step, described
from penstock_common.tensors import LARGEST_FLOATS, kind_of, widened


def _softmax(batch: Batch, params: NoParams) -> list[NDArray[Any]]:
    """exp(x) / sum(exp(x)), shifted by the largest x so that no exp overflows; in FP32 at least."""
    logits = _logits(batch, "softmax", dimensions=2)
    wide = logits.astype(np.result_type(logits, np.float32), copy=False)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    probabilities: NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return [probabilities.astype(logits.dtype, copy=False)]


def _sigmoid(batch: Batch, params: NoParams) -> list[NDArray[Any]]:
    """1 / (1 + exp(-x)) as (1 + tanh(x / 2)) / 2, which does not overflow; a lone logit is that of the second label."""
    logits = _logits(batch, "sigmoid", dimensions=1)
    probabilities: NDArray[Any] = ((1 + np.tanh(widened(logits) / 2)) / 2).astype(logits.dtype, copy=False)
    if batch.output.shape == [2] and (logits.ndim == 1 or logits.shape[1:] == (1,)):
        positive = probabilities.reshape(-1)
        return [np.stack([1 - positive, positive], axis=1)]
    return [probabilities]


def _logits(batch: Batch, step: str, *, dimensions: int) -> NDArray[Any]:
    (logits,) = batch.tensors
    if kind_of(logits.dtype) != "f" or logits.ndim < dimensions:
        raise bad_model_answer(f"output {batch.output.name!r} as {described(logits)}, which {step} cannot work on")
    return logits


def _check_softmax(manifest: Manifest, output: Output, params: NoParams) -> None:
    _check_floats(output, "softmax")
    if not output.shape:
        raise ValueError(f"outputs.{output.name}.shape: postprocess softmax needs an axis to sum over; got []")


def _check_sigmoid(manifest: Manifest, output: Output, params: NoParams) -> None:
    _check_floats(output, "sigmoid")


def _check_floats(output: Output, step: str) -> None:
    if output.datatype not in LARGEST_FLOATS:
        raise ValueError(
            f"outputs.{output.name}.datatype: postprocess {step} gives floats ({', '.join(LARGEST_FLOATS)}), "
            f"not {output.datatype}"
        )


SOFTMAX = Step(NoParams, _check_softmax, _softmax)
SIGMOID = Step(NoParams, _check_sigmoid, _sigmoid)
