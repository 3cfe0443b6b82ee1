"""Turns scores into the class that has the largest: its position (``argmax``) or its name (``labels``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.manifest import Manifest, Output
from penstock_common.postprocessing.step import Batch, NoParams, Step, described


def _argmax(batch: Batch, params: NoParams) -> list[NDArray[Any]]:
    return [np.asarray(_scores(batch, "argmax").argmax(axis=-1))]


def _labels(batch: Batch, params: NoParams) -> list[NDArray[Any]]:
    scores, names = _scores(batch, "labels"), batch.manifest.labels
    if scores.shape[-1] != len(names):
        raise bad_model_answer(f"{scores.shape[-1]} scores; the manifest names {len(names)} labels")
    labels = np.array([label.encode() for label in names], dtype=np.object_)
    return [np.asarray(labels[scores.argmax(axis=-1)])]


def _scores(batch: Batch, step: str) -> NDArray[Any]:
    (scores,) = batch.tensors
    if scores.dtype.kind == "O" or scores.ndim < 2:
        raise bad_model_answer(f"output {batch.output.name!r} as {described(scores)}, which {step} cannot work on")
    return scores


def _check_argmax(manifest: Manifest, output: Output, params: NoParams) -> None:
    if output.datatype != "INT64":
        raise ValueError(f"outputs.{output.name}.datatype: postprocess argmax gives INT64, not {output.datatype}")


def _check_labels(manifest: Manifest, output: Output, params: NoParams) -> None:
    if output.datatype != "BYTES" or not manifest.labels:
        raise ValueError(
            f"outputs.{output.name}.datatype: postprocess labels gives BYTES, those of `labels`; got "
            f"{output.datatype} and {len(manifest.labels)} labels"
        )


ARGMAX = Step(NoParams, _check_argmax, _argmax)
LABELS = Step(NoParams, _check_labels, _labels)
