"""``ctc``: the class scores of each time step into a text, as the connectionist temporal classification reads them.

The best class of each step is taken; of equal ones in a row one is kept, and blanks are dropped (Graves et al., 2006,
"Connectionist Temporal Classification", best path decoding).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import bad_model_answer
from penstock_common.manifest import Manifest, Output, bad_manifest
from penstock_common.postprocessing.step import Batch, Step, described
from penstock_common.tensors import kind_of

_MAX_FILE_BYTES = 4_000_000


class CtcParams(msgspec.Struct, forbid_unknown_fields=True):
    """``characters``: a text, or a list of texts, one for each class but the blank, in their order.

    ``file``: one of them a line, in UTF-8, in the artifact; instead of ``characters``. ``blank``: the class of the blank,
    -1 for the last. ``confidence``: the output that gets the mean probability of what was kept, 0 if nothing was.
    ``logits``: whether the scores are logits, of which that takes the softmax.
    """

    characters: str | list[str] = ""
    file: str = ""
    blank: int = 0
    confidence: str = ""
    logits: bool = False

    def __post_init__(self) -> None:
        if bool(self.characters) == bool(self.file):
            raise ValueError("needs either `characters` or `file`")
        if self.file.startswith("/") or ".." in Path(self.file).parts:
            raise ValueError(f"file {self.file!r} must lie inside the artifact")
        if self.blank < -1:
            raise ValueError(f"blank {self.blank} is not a class; use its position, or -1 for the last")


def _ctc(batch: Batch, params: CtcParams) -> list[NDArray[Any]]:
    """Return texts ``[rows]``, and the confidence ``float32 [rows]`` if it is declared."""
    (scores,) = batch.tensors
    if kind_of(scores.dtype) != "f" or scores.ndim != 3:
        raise bad_model_answer(
            f"output {batch.output.name!r} as {described(scores)}; postprocess ctc takes floats [rows, steps, classes]"
        )
    characters = _characters(batch.folder / params.file) if params.file else list(params.characters)
    classes = scores.shape[-1]
    if classes != len(characters) + 1:
        raise bad_model_answer(
            f"output {batch.output.name!r} with {classes} classes; the manifest names {len(characters)} characters, and "
            "one class is the blank"
        )
    blank = classes - 1 if params.blank == -1 else params.blank
    if blank >= classes:
        raise bad_model_answer(f"output {batch.output.name!r} with {classes} classes; the blank would be class {blank}")
    best = scores.argmax(axis=-1)
    kept = best != blank
    kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    alphabet = [*characters[:blank], "", *characters[blank:]]
    texts = np.empty(len(best), dtype=np.object_)
    texts[:] = ["".join([alphabet[i] for i in row[keep]]).encode() for row, keep in zip(best, kept, strict=True)]
    if not params.confidence:
        return [texts]
    certain = _probability_of_best(scores, logits=params.logits)
    count = np.maximum(kept.sum(axis=1), 1)
    return [texts, (np.where(kept, certain, 0).sum(axis=1) / count).astype(np.float32)]


def _probability_of_best(scores: NDArray[Any], *, logits: bool) -> NDArray[Any]:
    """Return ``float32 [rows, steps]``."""
    wide = scores.astype(np.float32, copy=False)
    largest: NDArray[Any] = wide.max(axis=-1)
    if not logits:
        return largest
    probabilities: NDArray[Any] = 1 / np.exp(wide - largest[..., np.newaxis]).sum(axis=-1)
    return probabilities


@cache
def _characters(path: Path) -> list[str]:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise bad_manifest(f"postprocess.params.file: {path.name!r} has more than {_MAX_FILE_BYTES} bytes")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as err:
        raise bad_manifest(f"postprocess.params.file: {path.name!r} is not UTF-8 (byte {err.start})") from None
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _check(manifest: Manifest, output: Output, params: CtcParams) -> None:
    if output.datatype != "BYTES" or output.shape:
        raise ValueError(
            f"outputs.{output.name}: postprocess ctc gives a text, BYTES []; got {output.datatype} {output.shape}"
        )
    for other in manifest.outputs:
        if other.name == params.confidence and (other.datatype != "FP32" or other.shape):
            raise ValueError(
                f"outputs.{other.name}: the confidence of postprocess ctc is FP32 []; got {other.datatype} {other.shape}"
            )


CTC = Step(
    CtcParams,
    _check,
    _ctc,
    gives=lambda params: [params.confidence] if params.confidence else [],
    files=lambda params: [params.file] if params.file else [],
)
