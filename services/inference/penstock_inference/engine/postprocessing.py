"""Post-processing of the first output of a model's file: logits into probabilities, scores into a position."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Manifest, Postprocess
from penstock_inference.engine.output_checks import bad_model_answer


def postprocess(manifest: Manifest, output: NDArray[Any]) -> NDArray[Any]:
    """Return the first output as the manifest declares it.

    Raises:
        PenstockError: 500 ``bad-model-answer`` if the file's output is not floats, or has no axis to work on.
    """
    kind = manifest.postprocess
    needed = 1 if kind is Postprocess.SIGMOID else 2
    if (
        (output.dtype.kind != "f" and kind not in (Postprocess.ARGMAX, Postprocess.LABELS))
        or output.dtype.kind == "O"
        or output.ndim < needed
    ):
        shape = f"{output.dtype.name} {list(output.shape)}"
        raise bad_model_answer(f"output {manifest.outputs[0].name!r} as {shape}, which {kind} cannot work on")
    match kind:
        case Postprocess.SOFTMAX:
            return _softmax(output)
        case Postprocess.SIGMOID:
            return _sigmoid(output, two_labels=manifest.outputs[0].shape == [2])
        case Postprocess.LABELS:
            return _labels(output, manifest)
        case _:
            return np.asarray(output.argmax(axis=-1))


def _labels(scores: NDArray[Any], manifest: Manifest) -> NDArray[Any]:
    if scores.shape[-1] != len(manifest.labels):
        raise bad_model_answer(f"{scores.shape[-1]} scores; the manifest names {len(manifest.labels)} labels")
    labels = np.array([label.encode() for label in manifest.labels], dtype=np.object_)
    return np.asarray(labels[scores.argmax(axis=-1)])


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """exp(x) / sum(exp(x)), shifted by the largest x so that no exp overflows; in FP32 at least."""
    wide = logits.astype(np.result_type(logits, np.float32), copy=False)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    probabilities: NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities.astype(logits.dtype, copy=False)


def _sigmoid(logits: NDArray[Any], *, two_labels: bool) -> NDArray[Any]:
    """1 / (1 + exp(-x)) as (1 + tanh(x / 2)) / 2, which does not overflow; a lone logit is that of the second label."""
    probabilities: NDArray[Any] = ((1 + np.tanh(logits / 2)) / 2).astype(logits.dtype, copy=False)
    if two_labels and (logits.ndim == 1 or logits.shape[1:] == (1,)):
        positive = probabilities.reshape(-1)
        return np.stack([1 - positive, positive], axis=1)
    return probabilities
