"""The table of pre-processing steps, and ``preprocess``, which runs the step that a manifest names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from penstock_common.manifest import Field, Manifest, Preprocess, bad_manifest
from penstock_common.preprocessing.audio import AUDIO
from penstock_common.preprocessing.audio_windows import AUDIO_WINDOWS
from penstock_common.preprocessing.image import IMAGE
from penstock_common.preprocessing.items import ITEMS
from penstock_common.preprocessing.piper import PIPER
from penstock_common.preprocessing.step import ModelTensor, Step
from penstock_common.preprocessing.tabular import TABULAR
from penstock_common.preprocessing.text import UTF8_BYTES
from penstock_common.preprocessing.tokens import TOKENIZER
from penstock_common.step_params import read_params

STEPS: dict[str, Step[Any]] = {
    "audio": AUDIO,
    "audio-windows": AUDIO_WINDOWS,
    "image": IMAGE,
    "items": ITEMS,
    "piper": PIPER,
    "tabular": TABULAR,
    "tokenizer": TOKENIZER,
    "utf8-bytes": UTF8_BYTES,
}

_NO_FOLDER = Path()


def preprocess(manifest: Manifest, inputs: Mapping[str, NDArray[Any]], folder: Path = _NO_FOLDER) -> list[NDArray[Any]]:
    """Return the tensors that the clients' fields become, in the order of ``model_tensors``.

    Args:
        manifest: names the step; without a step, the inputs are returned as they are, in order.
        inputs: an array ``[N, *shape]`` for each field; BYTES are object arrays of ``bytes``.
        folder: of the artifact, for a step that reads a file of it.

    Raises:
        PenstockError: 422 ``invalid-input`` if a row cannot be read; 422 ``bad-manifest`` for an unknown step or
            parameter.
    """
    if manifest.preprocess is None:
        return [inputs[field.name] for field in manifest.client_inputs]
    step, params = _step(manifest.preprocess)
    return step.run(manifest, inputs, params, folder)


def model_tensors(manifest: Manifest) -> list[ModelTensor]:
    """Return what the model's file is given: what the step makes of the fields, or the fields; masks; constants.

    Raises:
        PenstockError: 422 ``bad-manifest`` if the step, its parameters or the fields for it are wrong.
    """
    tensors = _tensors(manifest)
    return tensors if manifest.batch else [replace(tensor, batch_axis=None) for tensor in tensors]


def _tensors(manifest: Manifest) -> list[ModelTensor]:
    constants = [_tensor_of(field) for field in manifest.inputs if field.constant is not None]
    if manifest.preprocess is None:
        masks = [ModelTensor(field.mask, "INT64", (-1,), any_datatype=True) for field in manifest.inputs if field.mask]
        return [*[_tensor_of(field) for field in manifest.client_inputs], *masks, *constants]
    step, params = _step(manifest.preprocess)
    try:
        tensors = step.tensors(manifest, params)
    except ValueError as err:
        raise bad_manifest(f"preprocess: {manifest.preprocess.name} {err}") from None
    return [*tensors, *constants]


def _tensor_of(field: Field) -> ModelTensor:
    shape = tuple([size if isinstance(size, int) else -1 for size in field.shape])
    return ModelTensor(
        field.source or field.name,
        field.datatype,
        shape,
        may_be_absent=field.constant is None and field.may_be_absent,
        batch_axis=field.batch_axis,
    )


def files_of_step(manifest: Manifest) -> list[str]:
    """Return the paths in the artifact of the files that the pre-processing reads."""
    if manifest.preprocess is None:
        return []
    step, params = _step(manifest.preprocess)
    return step.files(params)


def _step(chosen: Preprocess) -> tuple[Step[Any], Any]:
    step = STEPS.get(chosen.name)
    if step is None:
        raise bad_manifest(f"preprocess.name: {chosen.name!r} is none of {', '.join(STEPS)}")
    return step, read_params("preprocess", chosen.name, chosen.params, step.params)
