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

    def encode(self, features: Any) -> Any:
        return features

    def detect_language(self, heard: Any) -> list[list[tuple[str, float]]]:
        return [[(f"<|{HEARD}|>", 0.9)]]

    def generate(self, heard: Any, prompts: list[list[str]], **options: Any) -> list[SimpleNamespace]:
        self.asked += prompts
        return [SimpleNamespace(sequences_ids=[[]], scores=[0.0], no_speech_prob=0.0)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tokenizer."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a"))
    tokenizer.add_special_tokens(TOKENS)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def runner(folder: Path, model: Model, **parameters: str) -> WhisperRunner:
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
    ]
    answer = asked.run([SOUND, column("en"), column("translate")])
    asked.run([SOUND, None, None])
    start = "<|startoftranscript|>"
    assert model.asked == [[start, "<|en|>", "<|translate|>"], [start, "<|de|>", "<|transcribe|>"]]
    assert isinstance(answer, dict)
    assert (answer["language"].tolist(), json.loads(answer["segments"][0])) == ([b"en"], [])


def test_the_parameters_decide_for_rows_that_name_nothing(folder: Path) -> None:
    """A row's own words count more."""
    model = Model(multilingual=True)
    asked = runner(folder, model, language="en", task="translate")
    asked.run([SOUND, None, None])
    asked.run([SOUND, column("de"), column("transcribe")])
    assert [prompt[1:] for prompt in model.asked] == [["<|en|>", "<|translate|>"], ["<|de|>", "<|transcribe|>"]]


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
        runner(folder, Model(multilingual=True)).run([SOUND, column(language), column(task)])
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


def test_a_model_of_english_does_not_translate(folder: Path) -> None:
    """It takes only the sound."""
    english = runner(folder, Model(multilingual=False))
    assert [tensor.name for tensor in english.inputs] == ["audio"]
    with pytest.raises(ModelMismatchError, match=r"parameters.task: .* does not do 'translate'; it does transcribe"):
        runner(folder, Model(multilingual=False), task="translate")
