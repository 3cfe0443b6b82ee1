"""Whisper: sounds to texts with the times of their parts, in the language that is spoken or in English."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from penstock_common.manifest import Manifest
from penstock_inference.runners.languages import Languages
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError, tell_nobody
from penstock_inference.runners.sounds import (
    Samples,
    decode_sounds,
    segment,
    sound_field,
)
from penstock_inference.runners.texts import encoded, json_column
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.transformers_heads.each_token import after_each_token
from penstock_inference.runners.transformers_heads.pretrained import load_pretrained, load_weights
from penstock_inference.runners.whisper_decoding import (
    BEFORE_PROMPT,
    FIRST_SPECIAL,
    PROMPT,
    TEMPERATURE,
    row_prompts,
    row_temperatures,
)
from penstock_inference.runners.whisper_tasks import checked_task, row_tasks

_ENGLISH = "en"


def whisper(path: Path, manifest: Manifest, device: TorchDevice) -> WhisperRunner:
    """Load a model that gives ``text``, ``segments`` and ``language`` for the input ``audio``.

    Each sound may have a ``prompt``, a text before each of its windows, and a ``temperature``. A model of several languages
    has the input ``language``, without which it listens for the language first, and ``task``, without which it does what
    the manifest's parameters say.

    Raises:
        ModelMismatchError: the manifest has no input of kind audio, sets a parameter that the model does not have, or the
            folder does not say what its languages are.
    """
    return WhisperRunner(path, manifest, device)


class WhisperRunner:
    """See ``whisper``. A sound may be hours long, so each token counts as progress."""

    def __init__(self, path: Path, manifest: Manifest, device: TorchDevice) -> None:
        parameters = parameters_of(manifest, "task", "language", "beam_size")
        self._field = sound_field(manifest)
        self.tell_progress: Callable[[], None] = tell_nobody
        self._device = device.device
        self._model = load_weights(transformers.WhisperForConditionalGeneration, path, device, reorder=True)
        self._tokenizer = load_pretrained(transformers.AutoTokenizer, path)
        self._extractor = load_pretrained(transformers.AutoFeatureExtractor, path)
        self._rate: int = self._extractor.sampling_rate
        settings = self._model.generation_config
        settings.update(do_sample=False, num_return_sequences=1, max_time=None)
        if parameters.beam_size is not None:
            settings.num_beams = parameters.beam_size
        self._languages = _languages(settings)
        self._language = self._own_language(parameters.language or getattr(settings, "language", None))
        self._task = checked_task("parameters.task", parameters.task, multilingual=bool(self._languages))
        self.inputs = [FileTensor("audio", "BYTES", (-1,))]
        if self._languages:
            self.inputs += [FileTensor(name, "BYTES", (-1,), required=False) for name in ("language", "task")]
        self.inputs += [
            FileTensor(PROMPT, "BYTES", (-1,), required=False),
            FileTensor(TEMPERATURE, "FP32", (-1,), required=False),
        ]

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        files, *others = inputs
        assert files is not None
        given = dict(zip([tensor.name for tensor in self.inputs[1:]], others, strict=True))
        sounds = decode_sounds(self._field, files, self._rate)
        languages = [self._language] * len(sounds)
        if (given_languages := given.get("language")) is not None:
            languages = [self._languages.code("language", language.decode()) for language in given_languages.tolist()]
        given_tasks = given.get("task")
        tasks = [self._task] * len(sounds) if given_tasks is None else row_tasks(given_tasks)
        prompts = row_prompts(given[PROMPT], len(sounds))
        temperatures = row_temperatures(given[TEMPERATURE], len(sounds))
        asked = list(zip(tasks, prompts, temperatures, strict=True))
        heard: list[list[dict[str, Any]]] = [[] for _ in sounds]
        texts = np.full(len(sounds), "", dtype=np.object_)
        # Sounds that fit the model's window and are asked alike share a run; a longer one is heard by windows, alone.
        short: dict[tuple[str, str, float], list[int]] = {}
        long = []
        for i, sound in enumerate(sounds):
            if len(sound) <= self._extractor.n_samples:
                short.setdefault(asked[i], []).append(i)
            else:
                long.append([i])
        for rows, whole in [*[(rows, True) for rows in short.values()], *[(rows, False) for rows in long]]:
            named, parts = self._heard(
                [sounds[i] for i in rows], [languages[i] for i in rows], *asked[rows[0]], whole=whole
            )
            for i, language, segments in zip(rows, named, parts, strict=True):
                languages[i] = language
                texts[i], heard[i] = self._read(segments, len(sounds[i]) / self._rate)
        return {
            "text": encoded(texts),
            "segments": json_column(heard),
            "language": encoded(np.array(languages, np.object_)),
        }

    def changed_state(self) -> list[str]:
        return []  # the library's models keep nothing between calls

    def _heard(
        self,
        sounds: list[Samples],
        languages: list[str | None],
        task: str,
        prompt: str,
        temperature: float,
        *,
        whole: bool,
    ) -> tuple[list[str], list[list[dict[str, Any]]]]:
        """Return the language and the library's segments of each sound.

        Args:
            whole: whether the sounds fit the model's window, to which they are filled up.
        """
        windows = {} if whole else {"truncation": False, "padding": "longest"}
        tensors = self._extractor(
            sounds, sampling_rate=self._rate, return_attention_mask=True, return_tensors="pt", **windows
        ).to(self._device, dtype=self._model.dtype)
        settings: dict[str, Any] = {}
        named = [_ENGLISH] * len(sounds)
        if self._languages:
            detected = self._detected(tensors["input_features"]) if None in languages else named
            named = [language or other for language, other in zip(languages, detected, strict=True)]
            settings = {"language": [self._languages.token(code) for code in named], "task": task}
        if prompt:
            settings["prompt_ids"] = self._prompt_tokens(prompt)
        if temperature > 0:
            settings["temperature"] = temperature
        answer = self._model.generate(
            tensors["input_features"],
            attention_mask=tensors["attention_mask"],
            return_timestamps=True,
            return_segments=True,
            stopping_criteria=after_each_token(self.tell_progress),
            **settings,
        )
        return named, answer["segments"]

    def _prompt_tokens(self, prompt: str) -> torch.Tensor:
        """Return the tokens that stand for a text before the sound; texts of special tokens in it do not count."""
        before, first_special = self._tokenizer.convert_tokens_to_ids([BEFORE_PROMPT, FIRST_SPECIAL])
        tokens = self._tokenizer(f" {prompt}", add_special_tokens=False)["input_ids"]
        text = [token for token in tokens if token < first_special]
        most = self._model.config.max_target_positions // 2 - 1
        return torch.tensor([before, *text[-most:]], device=self._device)

    def _detected(self, features: torch.Tensor) -> list[str]:
        tokens = self._model.detect_language(features, num_segment_frames=self._extractor.nb_max_frames)
        return [self._tokenizer.convert_ids_to_tokens(token).strip("<|>") for token in tokens.tolist()]

    def _read(self, segments: list[dict[str, Any]], seconds: float) -> tuple[str, list[dict[str, Any]]]:
        texts = [self._tokenizer.decode(part["tokens"], skip_special_tokens=True) for part in segments]
        parts = [
            segment(float(part["start"]), float(part["end"]), text, seconds)
            for part, text in zip(segments, texts, strict=True)
        ]
        return "".join(texts).strip(), parts

    def _own_language(self, named: str | None) -> str | None:
        """Return the code of the language that all sounds are in; folders name it in English, too. None if they differ."""
        if named is None or not self._languages:
            return None
        return self._languages.code("parameters.language", TO_LANGUAGE_CODE.get(named.lower(), named))


def _languages(settings: Any) -> Languages:
    """Return the languages of a model; none of one that knows only English."""
    if not getattr(settings, "is_multilingual", True):
        return Languages({})
    tokens = getattr(settings, "lang_to_id", None)
    if not tokens:
        raise ModelMismatchError(
            "The folder's generation_config.json does not name the languages of the model (lang_to_id), nor says that it has "
            "only one (is_multilingual: false); take that file from the model's newest version."
        )
    return Languages({token.strip("<|>"): token for token in tokens})
