"""The table of pre-processing steps, and ``preprocess``, which runs the step that a manifest names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.preprocessing.image import image
from penstock_common.preprocessing.tabular import tabular
from penstock_common.preprocessing.text import utf8_bytes

Step = Callable[[Manifest, Mapping[str, NDArray[Any]], Mapping[str, Any]], list[NDArray[Any]]]

STEPS: dict[str, Step] = {"utf8-bytes": utf8_bytes, "image": image, "tabular": tabular}


def preprocess(manifest: Manifest, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the positional tensors of a batch.

    Args:
        manifest: names the step; without a step, the inputs are returned as they are, in order.
        inputs: an array ``[N, *shape]`` for each field; BYTES are object arrays of ``bytes``.

    Raises:
        PenstockError: 422 ``invalid-input`` if a row cannot be read; 422 ``bad-manifest`` for an unknown step.
    """
    step = manifest.preprocess
    if step is None:
        return [inputs[field.name] for field in manifest.inputs]
    try:
        run = STEPS[step.name]
    except KeyError:
        known = ", ".join(sorted(STEPS))
        raise PenstockError(422, "bad-manifest", f"preprocess.name: {step.name!r} is none of {known}") from None
    return run(manifest, inputs, step.params)
