"""Turns a text into the phonemes that a voice of Piper speaks (github.com/rhasspy/piper), sentence by sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import FieldKind, Manifest
from penstock_common.preprocessing.pronunciation import Pronunciation
from penstock_common.preprocessing.spoken_text import sentences
from penstock_common.preprocessing.step import ModelTensor, Step

_SPEED = "speed"
_PAD, _START, _END, _SPACE = "_", "^", "$", " "
#: Of a row at the usual speed, about 40 seconds: a sentence has fewer, unless it is one of initials.
_MOST_PHONEMES = 400
_PAUSES = ".,;:!?"
_LETTERS = "[A-Za-z\u00c0-\u024f]+"  # Latin ones
#: A word, or a sign that the voice pauses at.
_TOKEN = re.compile(rf"{_LETTERS}(?:'{_LETTERS})*|[{_PAUSES}]")


class PiperParams(msgspec.Struct, forbid_unknown_fields=True):
    """Paths in the artifact: the voice's own JSON file, and the lexicon and the model of letters of ``Pronunciation``.

    ``renamed``: what the voice calls phonemes that the model of letters calls otherwise.
    """

    voice: str = "voice.json"
    lexicon: str = "lexicon.txt"
    letters: str = "letters.crf"
    renamed: dict[str, str] | None = None

    def __post_init__(self) -> None:
        for name, file in (("voice", self.voice), ("lexicon", self.lexicon), ("letters", self.letters)):
            if file.startswith("/") or ".." in Path(file).parts:
                raise ValueError(f"{name} {file!r} must lie inside the artifact")


class _Inference(msgspec.Struct):
    """How much a voice varies its sound and its rhythm, and how slowly it speaks."""

    noise_scale: float = 0.667
    length_scale: float = 1.0
    noise_w: float = 0.8


class _Voice(msgspec.Struct):
    """What is read of a voice's JSON file."""

    phoneme_id_map: dict[str, list[int]]
    inference: _Inference = msgspec.field(default_factory=_Inference)


def _speak(
    manifest: Manifest, inputs: Mapping[str, NDArray[Any]], params: PiperParams, folder: Path
) -> list[NDArray[Any]]:
    """Return a row for each sentence of one text: phonemes ``int64 [S, L]``, lengths ``[S]``, scales ``float32 [1, 3]``.

    Raises:
        PenstockError: 422 ``invalid-input`` for a text that is not UTF-8, or without a word.
    """
    field = next(field for field in manifest.client_inputs if field.kind is FieldKind.TEXT)
    try:
        text = bytes(inputs[field.name].item()).decode()
    except UnicodeDecodeError as err:
        raise PenstockError(
            422, "invalid-input", f"{field.name}: is not UTF-8 (byte {err.start}); send a text in UTF-8."
        ) from None
    voice = _read_voice(folder / params.voice)
    pronunciation = _read_pronunciation(
        folder / params.lexicon, folder / params.letters, tuple((params.renamed or {}).items())
    )
    speed = float(inputs[_SPEED].item()) if _SPEED in inputs else 1.0
    most = max(1, round(_MOST_PHONEMES * min(speed, 1)))
    spoken = [part for sentence in sentences(text) for part in wrap(_phonemes(sentence, pronunciation), most)]
    rows = [_ids(part, voice) for part in spoken]
    if not rows:
        raise PenstockError(422, "invalid-input", f"{field.name}: has no word that can be spoken; send words.")
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.full((len(rows), int(lengths.max())), voice.phoneme_id_map[_PAD][0], np.int64)
    for own, row in zip(ids, rows, strict=True):
        own[: len(row)] = row
    inference = voice.inference
    scales = np.array([[inference.noise_scale, inference.length_scale / speed, inference.noise_w]], np.float32)
    return [ids, lengths, scales]


def _phonemes(sentence: str, pronunciation: Pronunciation) -> str:
    """Return the phonemes of a sentence as Piper has them; nothing if it has no words."""
    spoken = ""
    for token in _TOKEN.findall(sentence):
        if token not in _PAUSES:
            spoken += (_SPACE if spoken else "") + pronunciation.phonemes(token)
        elif spoken and spoken[-1] not in _PAUSES:
            spoken += token
    return spoken


def _ids(phonemes: str, voice: _Voice) -> list[int]:
    """Return the numbers of phonemes, each followed by a pause; those that the voice does not have are left out."""
    numbers = voice.phoneme_id_map
    ids = [*numbers[_START], *numbers[_PAD]]
    for phoneme in phonemes:
        if phoneme in numbers:
            ids += [*numbers[phoneme], *numbers[_PAD]]
    return [*ids, *numbers[_END]]


@cache
def _read_pronunciation(lexicon: Path, letters: Path, renamed: tuple[tuple[str, str], ...]) -> Pronunciation:
    return Pronunciation(lexicon, letters, dict(renamed))


@cache
def _read_voice(path: Path) -> _Voice:
    return msgspec.json.decode(path.read_bytes(), type=_Voice)


def _tensors(manifest: Manifest, params: PiperParams) -> list[ModelTensor]:
    fields = manifest.client_inputs
    texts = [field for field in fields if field.kind is FieldKind.TEXT]
    others = [field.name for field in fields if field.kind is not FieldKind.TEXT and field.name != _SPEED]
    if len(texts) != 1 or others:
        raise ValueError(
            f"takes one text, and perhaps {_SPEED}; inputs has {', '.join(field.name for field in fields)}"
        )
    for field in fields:
        if field.name == _SPEED and (field.kind is not FieldKind.NUMBER or not (field.minimum or 0) > 0):
            raise ValueError(f"takes {_SPEED} as a number with a minimum above 0; set its kind and minimum")
    if not manifest.stream:
        raise ValueError("gives a row for each sentence, and each is answered with a chunk; set stream: true")
    return [
        ModelTensor("input", "INT64", (-1,)),
        ModelTensor("input_lengths", "INT64", ()),
        ModelTensor("scales", "FP32", (3,), batch_axis=None),
    ]


PIPER = Step(PiperParams, _tensors, _speak, files=lambda params: [params.voice, params.lexicon, params.letters])
