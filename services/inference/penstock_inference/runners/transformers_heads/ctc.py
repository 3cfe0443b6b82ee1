"""Models of speech that name a letter for each moment of a sound (wav2vec 2.0 and its like), read by CTC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.runner import FileTensor, ModelMismatchError
from penstock_inference.runners.sounds import (
    Samples,
    decode_sounds,
    segment,
    sound_field,
)
from penstock_inference.runners.texts import encoded, json_column
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.transformers_heads.pretrained import load_pretrained, load_weights
from penstock_inference.runners.transformers_heads.runner import TransformersRunner


def letters_of_speech(path: Path, manifest: Manifest, device: TorchDevice) -> TransformersRunner:
    """Load a model that gives ``text`` and ``segments`` for the input ``audio``; a segment is a word.

    Raises:
        ModelMismatchError: the model does not read samples, the manifest has no input of kind audio, or it sets
            parameters.
    """
    reader = _Reader(path, manifest, device)
    return TransformersRunner([FileTensor("audio", "BYTES", (-1,))], reader.run)


class _Reader:
    def __init__(self, path: Path, manifest: Manifest, device: TorchDevice) -> None:
        parameters_of(manifest)
        self._field = sound_field(manifest)
        self._device = device.device
        self._extractor = load_pretrained(transformers.AutoFeatureExtractor, path)
        if self._extractor.model_input_names[0] != "input_values":
            raise ModelMismatchError(
                f"The folder's model reads {self._extractor.model_input_names[0]}, not samples (input_values), as wav2vec 2.0, "
                "HuBERT and WavLM do; it is not served."
            )
        self._model = load_weights(transformers.AutoModelForCTC, path, device)
        self._tokenizer = load_pretrained(transformers.AutoTokenizer, path)
        self._rate: int = self._extractor.sampling_rate

    def run(self, arrays: Sequence[NDArray[Any] | None]) -> dict[str, NDArray[Any]]:
        [files] = arrays
        assert files is not None
        sounds = decode_sounds(self._field, files, self._rate)
        texts = np.full(len(sounds), "", dtype=np.object_)
        words: list[list[dict[str, Any]]] = [[] for _ in sounds]
        long_enough = [i for i, sound in enumerate(sounds) if self._moments(sound) > 0]
        # Without a mask, the silence that fills up a shorter sound would change how its letters are heard.
        together = [long_enough] if self._extractor.return_attention_mask else [[i] for i in long_enough]
        for rows in filter(None, together):
            for i, letters in zip(rows, self._letters([sounds[i] for i in rows]), strict=True):
                texts[i], words[i] = self._read(letters, len(sounds[i]) / self._rate)
        return {"text": encoded(texts), "segments": json_column(words)}

    def _letters(self, sounds: list[Samples]) -> list[NDArray[Any]]:
        """Return the likeliest letter of each moment of each sound."""
        tensors = self._extractor(sounds, sampling_rate=self._rate, padding=True, return_tensors="pt")
        letters = self._model(**tensors.to(self._device)).logits.argmax(-1).cpu().numpy()
        return [row[: self._moments(sound)] for row, sound in zip(letters, sounds, strict=True)]

    def _moments(self, sound: Samples) -> int:
        """Return for how many moments of a sound the model names a letter; less than 1 for a sound that is too short."""
        return int(self._model._get_feat_extract_output_lengths(torch.tensor(len(sound))))

    def _read(self, letters: NDArray[Any], seconds: float) -> tuple[str, list[dict[str, Any]]]:
        """Return the text of letters, and its words with their times."""
        read = self._tokenizer.decode(letters, output_word_offsets=True)
        seconds_a_moment = self._model.config.inputs_to_logits_ratio / self._rate
        words = [
            segment(
                word["start_offset"] * seconds_a_moment, word["end_offset"] * seconds_a_moment, word["word"], seconds
            )
            for word in read.word_offsets
        ]
        return read.text, words
