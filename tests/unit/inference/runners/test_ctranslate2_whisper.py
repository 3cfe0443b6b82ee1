"""What Whisper of CTranslate2 is asked: the language and the task of each row."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_common.wav_file import wav_file
from penstock_inference.runners.ctranslate2_models.whisper import WhisperRunner
from penstock_inference.runners.runner import ModelMismatchError

TOKENS = [
    "<|endoftext|>",
    "<|startofprev|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|notimestamps|>",
    "<|0.00|>",
]
HEARD = "de"


class Model:
    """Hears German in everything, and remembers what it was asked."""

    n_mels = 80

    def __init__(self, *, multilingual: bool) -> None:
        self.is_multilingual = multilingual
        self.asked: list[list[str]] = []
        self.options: list[dict[str, Any]] = []

    def encode(self, features: Any) -> Any:
        return features

    def detect_language(self, heard: Any) -> list[list[tuple[str, float]]]:
        return [[(f"<|{HEARD}|>", 0.9)]]

    def generate(self, heard: Any, prompts: list[list[str]], **options: Any) -> list[SimpleNamespace]:
        self.asked += prompts
        self.options.append(options)
        return [SimpleNamespace(sequences_ids=[[]], scores=[0.0], no_speech_prob=0.0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tokenizer."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(TOKENS)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def runner(folder: Path, model: Model, **parameters: Any) -> WhisperRunner:
    manifest = Manifest(
        Format.CTRANSLATE2,
        "model",
        Task.TENSOR,
        [Field("audio", FieldKind.AUDIO, "BYTES")],
        [Output("text", "BYTES")],
        batching=Batching(1),
        parameters=Parameters(**parameters) if parameters else None,
    )
    return WhisperRunner(model, folder, manifest)


def column(*texts: str) -> Any:
    return np.array([text.encode() for text in texts], object)


SOUND = np.empty(1, object)
SOUND[0] = wav_file(np.zeros(1600), 16_000)


def test_a_row_names_its_language_and_its_task(folder: Path) -> None:
    """Without them, the language is heard and the sound written down as it is."""
    model = Model(multilingual=True)
    asked = runner(folder, model)
    assert [(tensor.name, tensor.required) for tensor in asked.inputs] == [
        ("audio", True),
        ("language", False),
        ("task", False),
        ("prompt", False),
        ("temperature", False),
    ]
    answer = asked.run([SOUND, column("en"), column("translate"), None, None])
    asked.run([SOUND, None, None, None, None])
    start = "<|startoftranscript|>"
    assert model.asked == [[start, "<|en|>", "<|translate|>"], [start, "<|de|>", "<|transcribe|>"]]
    assert isinstance(answer, dict)
    assert (answer["language"].tolist(), json.loads(answer["segments"][0])) == ([b"en"], [])


def test_the_parameters_decide_for_rows_that_name_nothing(folder: Path) -> None:
    """A row's own words count more."""
    model = Model(multilingual=True)
    asked = runner(folder, model, language="en", task="translate")
    asked.run([SOUND, None, None, None, None])
    asked.run([SOUND, column("de"), column("transcribe"), None, None])
    assert [prompt[1:] for prompt in model.asked] == [["<|en|>", "<|translate|>"], ["<|de|>", "<|transcribe|>"]]


def test_a_prompt_is_the_text_before_each_window(folder: Path) -> None:
    """Its last 223 tokens; what looks like a special token in it is none."""
    model = Model(multilingual=False)
    long = np.empty(1, object)
    long[0] = wav_file(np.zeros(16_000 * 40), 16_000)
    asked = runner(folder, model)
    asked.run([long, column(" a <|startoftranscript|><|0.00|>"), None])
    asked.run([SOUND, column("a " * 500), None])
    asked.run([SOUND, column(" "), None])
    start = "<|startoftranscript|>"
    two, cut, none = model.asked[:2], model.asked[2], model.asked[3]
    assert two == [["<|startofprev|>", "a", start]] * 2
    assert cut == ["<|startofprev|>", *["a"] * 223, start]
    assert none == [start]


def test_a_temperature_samples(folder: Path) -> None:
    """From all tokens, without a beam; 0 is as none, and what is out of 0 to 1 is refused."""
    model = Model(multilingual=False)
    asked = runner(folder, model, beam_size=3)
    for temperature in (0.0, 0.5):
        asked.run([SOUND, None, np.array([temperature], np.float32)])
    asked.run([SOUND, None, None])
    likeliest = {"return_scores": True, "return_no_speech_prob": True, "beam_size": 3}
    sampled = {**likeliest, "beam_size": 1, "sampling_topk": 0, "sampling_temperature": 0.5}
    assert model.options == [likeliest, sampled, likeliest]
    for temperature in (-0.5, 1.5, np.nan):
        with pytest.raises(PenstockError, match=r"temperature: .* 0 to 1"):
            asked.run([SOUND, None, np.array([temperature], np.float32)])


@pytest.mark.parametrize(
    ("language", "task", "reason"),
    [
        ("fr", "translate", "language: 'fr'"),
        ("translate", "translate", "language: 'tr"),
        ("de", "sing", "task: 'sing'"),
    ],
)
def test_a_row_that_asks_for_what_there_is_not_is_refused(folder: Path, language: str, task: str, reason: str) -> None:
    """With the name of the field; a token that is no language does not count as one."""
    with pytest.raises(PenstockError, match=reason) as caught:
        runner(folder, Model(multilingual=True)).run([SOUND, column(language), column(task), None, None])
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


def test_a_model_of_english_does_not_translate(folder: Path) -> None:
    """It takes no language and no task."""
    english = runner(folder, Model(multilingual=False))
    assert [tensor.name for tensor in english.inputs] == ["audio", "prompt", "temperature"]
    with pytest.raises(ModelMismatchError, match=r"parameters.task: .* does not do 'translate'; it does transcribe"):
        runner(folder, Model(multilingual=False), task="translate")
