"""What the models of speech share: sounds decoded at the rate that the folder names, and parts of them with times."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Manifest
from penstock_common.preprocessing.audio_decoding import decode_audio
from penstock_inference.runners.runner import ModelMismatchError

#: Samples ``[n]`` of one channel, from -1 to 1.
Samples = NDArray[np.float32]

_DIGITS = 2


def sound_field(manifest: Manifest) -> Field:
    """Return the manifest's field of sounds.

    Raises:
        ModelMismatchError: it has none, or several.
    """
    fields = [field for field in manifest.client_inputs if field.kind is FieldKind.AUDIO]
    if len(fields) != 1 or manifest.preprocess is not None:
        raise ModelMismatchError("The folder's model takes one input of kind audio, without a preprocess step.")
    return fields[0]


def decode_sounds(field: Field, files: NDArray[Any], sample_rate: int) -> list[Samples]:
    """Decode the files of a batch; raises as ``decode_sound`` does."""
    return [decode_sound(field, data, sample_rate) for data in files.tolist()]


def decode_sound(field: Field, file: bytes, sample_rate: int) -> Samples:
    """Decode a file.

    Raises:
        PenstockError: 422 ``invalid-input`` if it cannot be decoded, or is longer than the field allows.
    """
    try:
        return decode_audio(file, sample_rate, field.most_seconds)
    except ValueError as err:
        raise PenstockError(422, "invalid-input", f"{field.name}: {err}.") from None


def segment(start: float, end: float, text: str, seconds: float) -> dict[str, Any]:
    """Return a part of a sound of some ``seconds``, which it does not outlast."""
    return {
        "start": round(min(start, seconds), _DIGITS),
        "end": round(min(end, seconds), _DIGITS),
        "text": text.strip(),
    }
