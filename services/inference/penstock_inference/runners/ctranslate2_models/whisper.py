"""Whisper: sounds to texts with the times of their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import tokenizers
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.preprocessing.log_mel import log_mel
from penstock_inference.runners.ctranslate2_models.segments import read_segments
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError, tell_nobody
from penstock_inference.runners.sounds import decode_sound, segment, sound_field
from penstock_inference.runners.texts import json_column, text_column
from penstock_inference.runners.whisper_decoding import (
    BEFORE_PROMPT,
    FIRST_SPECIAL,
    PROMPT,
    TEMPERATURE,
    row_prompts,
    row_temperatures,
)
from penstock_inference.runners.whisper_tasks import checked_task, row_tasks

_SAMPLE_RATE, _N_FFT, _HOP = 16_000, 400, 160
_WINDOW = 30 * _SAMPLE_RATE
#: A window is silent if the model says so and is unsure of the text (OpenAI's thresholds).
_NO_SPEECH, _UNSURE = 0.6, -1.0
#: Letters of a language's code; longer ones are other tokens.
_LONGEST_CODE = 3
_NO_TIMESTAMPS = "<|notimestamps|>"
#: Tokens of a prompt that are kept, the last ones: half of what the decoder reads, less the token before them.
_MOST_PROMPT = 223


class WhisperRunner:
    """Takes an encoded sound; gives ``text``, ``segments`` (JSON: start, end, text; in seconds) and ``language``.

    It may also take a ``prompt`` and a ``temperature`` for each sound, and a model of several languages the ``language``
    and the ``task``.

    Longer sounds are heard in windows of 30 seconds, each for itself. Rows are heard one after the other: a window keeps
    all threads busy.
    """

    def __init__(self, model: Any, folder: Path, manifest: Manifest) -> None:
        parameters = parameters_of(manifest, "max_tokens", "beam_size", "language", "compute_type", "task")
        self._field = sound_field(manifest)
        self.tell_progress: Callable[[], None] = tell_nobody
        self.inputs = [FileTensor(self._field.source or self._field.name, "BYTES", (-1,))]
        if model.is_multilingual:
            self.inputs += [FileTensor(name, "BYTES", (-1,), required=False) for name in ("language", "task")]
        self.inputs += [
            FileTensor(PROMPT, "BYTES", (-1,), required=False),
            FileTensor(TEMPERATURE, "FP32", (-1,), required=False),
        ]
        self._model = model
        self._tokenizer = _read_tokenizer(folder)
        self._first_timestamp = self._tokenizer.token_to_id(_NO_TIMESTAMPS) + 1
        self._special = self._tokenizer.token_to_id(FIRST_SPECIAL)
        self._language = self._checked(parameters.language)
        self._task = checked_task("parameters.task", parameters.task, multilingual=model.is_multilingual)
        options = {"beam_size": parameters.beam_size, "max_length": parameters.max_tokens}
        self._options: dict[str, Any] = {name: value for name, value in options.items() if value is not None}

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        sounds, *others = inputs
        assert sounds is not None
        given = dict(zip([tensor.name for tensor in self.inputs[1:]], others, strict=True))
        given_languages, given_tasks = given.get("language"), given.get("task")
        rows = len(sounds)
        languages = [self._language] * rows
        if given_languages is not None:
            languages = [self._known_language(language.decode()) for language in given_languages.tolist()]
        tasks = [self._task] * rows if given_tasks is None else row_tasks(given_tasks)
        prompts = [self._prompt_tokens(prompt) for prompt in row_prompts(given[PROMPT], rows)]
        temperatures = row_temperatures(given[TEMPERATURE], rows)
        heard = [self._hear(*row) for row in zip(sounds.tolist(), languages, tasks, prompts, temperatures, strict=True)]
        texts, segments, named = zip(*heard, strict=True)
        return {"text": text_column(texts), "segments": json_column(segments), "language": text_column(named)}

    def changed_state(self) -> list[str]:
        return []  # the library's models keep nothing between calls

    def _hear(
        self, data: bytes, language: str | None, task: str, prompt: list[str], temperature: float
    ) -> tuple[str, list[dict[str, Any]], str]:
        """Return the text of a sound, its segments and its language, which is heard if it is None."""
        options = self._options
        if temperature > 0:
            options = {**options, "beam_size": 1, "sampling_topk": 0, "sampling_temperature": temperature}
        samples = decode_sound(self._field, data, _SAMPLE_RATE)
        segments: list[dict[str, Any]] = []
        tokens: list[int] = []
        at = 0
        while at < len(samples):
            window = samples[at : at + _WINDOW]
            heard = self._model.encode(self._features(window))
            language = language or self._heard_language(heard)
            start = [*prompt, *self._start(language, task)]
            found, moved = self._window(heard, start, options, len(window) / _SAMPLE_RATE)
            offset = at / _SAMPLE_RATE
            for part in found:
                tokens += part.tokens
                text, seconds = self._text(part.tokens), len(samples) / _SAMPLE_RATE
                segments.append(segment(offset + part.start, offset + part.end, text, seconds))
            at += max(1, round(moved * _SAMPLE_RATE))
            self.tell_progress()
        return self._text(tokens), segments, language or ""

    def _features(self, window: NDArray[np.float32]) -> Any:
        padded = np.pad(window, (0, _WINDOW - len(window)))
        features = log_mel(padded, _SAMPLE_RATE, n_mels=self._model.n_mels, n_fft=_N_FFT, hop=_HOP)
        return ctranslate2.StorageView.from_array(np.ascontiguousarray(features[np.newaxis]))

    def _heard_language(self, heard: Any) -> str:
        (languages,) = self._model.detect_language(heard)
        return str(languages[0][0]).strip("<|>")

    def _start(self, language: str, task: str) -> list[str]:
        """Return the tokens after which a text begins."""
        start = ["<|startoftranscript|>"]
        if self._model.is_multilingual:
            start += [f"<|{language}|>", f"<|{task}|>"]
        return start

    def _prompt_tokens(self, prompt: str) -> list[str]:
        """Return the tokens that stand for a text before the sound; texts of special tokens in it do not count."""
        if not prompt:
            return []
        encoding = self._tokenizer.encode(f" {prompt}", add_special_tokens=False)
        text = [token for token, number in zip(encoding.tokens, encoding.ids, strict=True) if number < self._special]
        return [BEFORE_PROMPT, *text[-_MOST_PROMPT:]]

    def _window(self, heard: Any, start: list[str], options: dict[str, Any], seconds: float) -> Any:
        """Return the segments of a window, and by how many seconds the next one moves on."""
        (result,) = self._model.generate(heard, [start], return_scores=True, return_no_speech_prob=True, **options)
        tokens = result.sequences_ids[0]
        score = result.scores[0] * len(tokens) / (len(tokens) + 1)  # with the token that ends the text
        if result.no_speech_prob > _NO_SPEECH and score < _UNSURE:
            return [], seconds
        return read_segments(tokens, self._first_timestamp, seconds)

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens)).strip()

    def _known_language(self, code: str) -> str:
        """Return the code that a row names; raise PenstockError, 422, if the model does not have it."""
        if len(code) > _LONGEST_CODE or self._tokenizer.token_to_id(f"<|{code}|>") is None:
            text = f"language: {code[:40]!r} is none of the model's; send its code, such as en or de."
            raise PenstockError(422, "invalid-input", text)
        return code

    def _checked(self, language: str | None) -> str | None:
        """Return the language of all sounds; None if each shows its own."""
        if not self._model.is_multilingual:
            if language not in (None, "en"):
                raise ModelMismatchError(f"The folder's model knows English only, not {language!r}; leave it out.")
            return "en"
        if language is not None and self._tokenizer.token_to_id(f"<|{language}|>") is None:
            raise ModelMismatchError(
                f"parameters.language: {language!r} is none of the model's; give its code, such as en or de, or leave it out."
            )
        return language


def load_whisper(folder: Path, manifest: Manifest, settings: dict[str, Any]) -> WhisperRunner:
    """Load a folder.

    Args:
        settings: of the library's model.

    Raises:
        ModelMismatchError: it lacks a file, or the manifest does not fit it.
    """
    return WhisperRunner(ctranslate2.models.Whisper(str(folder), **settings), folder, manifest)


def _read_tokenizer(folder: Path) -> Any:
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ModelMismatchError(
            f"{folder.name} has no tokenizer.json; copy it from the folder that was converted "
            "(--copy_files tokenizer.json of ct2-transformers-converter)."
        )
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    for token in (_NO_TIMESTAMPS, BEFORE_PROMPT, FIRST_SPECIAL):
        if tokenizer.token_to_id(token) is None:
            raise ModelMismatchError(f"The tokenizer.json of {folder.name} is not that of Whisper: it lacks {token}.")
    return tokenizer
