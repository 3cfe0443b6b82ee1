"""The pre-processing step ``piper``: a row of phonemes for each sentence of a text."""

# ruff: noqa: RUF001 (phonemes)

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pycrfsuite
import pytest
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.manifest_values import check_manifest_values
from penstock_common.preprocessing.pronunciation import Pronunciation
from penstock_common.preprocessing.steps import files_of_step, preprocess

LEXICON = {"hello": "həlˈoʊ", "is": "ɪz", "a": "ɐ", "cat": "kˈæt", "A": "ˈeɪ", "I": "ˈaɪ"}
#: How the test's model pronounces letters; "h" is silent.
LETTERS = {"b": "b", "o": "O", "h": "_", "x": "k|s"}
RENAMED = {"O": "oʊ"}
PHONEMES = "_^$ .,?!" + "həlˈoʊɪzɐkætaeɪbs"


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the step reads of an artifact."""
    folder = tmp_path_factory.mktemp("artifact")
    (folder / "lexicon.txt").write_text("".join(f"{word}\t{phonemes}\n" for word, phonemes in LEXICON.items()))
    ids = {phoneme: [number] for number, phoneme in enumerate(dict.fromkeys(PHONEMES))}
    voice = {"phoneme_id_map": ids, "inference": {"noise_scale": 0.5, "length_scale": 2, "noise_w": 0.25}}
    (folder / "voice.json").write_text(json.dumps(voice))
    trainer = pycrfsuite.Trainer(verbose=False)
    for letter, phonemes in LETTERS.items():
        trainer.append([{"grapheme": coded(letter)}], [coded(phonemes)])
    trainer.train(str(folder / "letters.crf"))
    return folder


def manifest(*fields: Field, stream: bool = True) -> Manifest:
    text = Field("text", FieldKind.TEXT, "BYTES")
    outputs = [Output("samples", "FP32", [-1])]
    made = Manifest(
        Format.ONNX, "m.onnx", Task.TENSOR, [text, *fields], outputs, preprocess=Preprocess("piper"), stream=stream
    )
    check_manifest_values(made)
    return made


SPEED = Field("speed", FieldKind.NUMBER, "FP32", minimum=0.25, required=False, default=1.0)


def run(folder: Path, text: bytes, **more: NDArray[Any]) -> list[NDArray[Any]]:
    return preprocess(manifest(SPEED), {"text": np.array([text], dtype=object), **more}, folder)


def read_back(folder: Path, ids: NDArray[Any]) -> str:
    numbers = json.loads((folder / "voice.json").read_text())["phoneme_id_map"]
    names = {number: phoneme for phoneme, [number] in numbers.items()}
    return "".join(names[number] for number in ids.tolist())


def test_each_sentence_is_a_row(folder: Path) -> None:
    """Phonemes with a pause after each, between the signs of start and end; pauses fill up the shorter row."""
    ids, lengths, scales = run(folder, b"Hello, cat! Is?")
    assert (ids.dtype, lengths.dtype, scales.dtype) == (np.int64, np.int64, np.float32)
    first, second = [read_back(folder, row) for row in ids]
    assert first == "^_" + "".join(f"{phoneme}_" for phoneme in "həlˈoʊ, kˈæt!") + "$"
    assert second == "^_ɪ_z_?_$" + "_" * (len(first) - 9)
    assert lengths.tolist() == [len(first), 9]


def test_speed_and_the_voice_decide_the_scales(folder: Path) -> None:
    """The length is the voice's own by the speed; noise is the voice's own."""
    [*_, scales] = run(folder, b"Hello", speed=np.array([4], np.float32))
    assert scales.tolist() == [[0.5, 0.5, 0.25]]


def test_a_row_is_bounded(folder: Path) -> None:
    """A sentence of many phonemes has several rows, and the more the slower it is spoken."""
    text = b"AAAAA " * 33
    [ids, *_] = run(folder, text)
    [slow, *_] = run(folder, text, speed=np.array([0.25], np.float32))
    assert (len(ids), ids.shape[1] <= 2 * 400 + 3) == (2, True)
    assert (len(slow), slow.shape[1] <= 2 * 100 + 3) == (7, True)


@pytest.mark.parametrize(
    ("word", "phonemes"),
    [
        ("HELLO", "həlˈoʊ"),
        ("cat's", "kˈæts"),
        ("AI", "ˈeɪ ˈaɪ"),
        ("hbox", "boʊks"),
        ("hböx", "boʊks"),
        ("x" * 500, "ks" * 40),
    ],
)
def test_words_are_pronounced(folder: Path, word: str, phonemes: str) -> None:
    """By the lexicon in any case and with 's; by the names of an acronym's letters; else by letters, without accents."""
    pronunciation = Pronunciation(folder / "lexicon.txt", folder / "letters.crf", RENAMED)
    assert pronunciation.phonemes(word) == phonemes


@pytest.mark.parametrize(
    ("text", "reason"), [(b"\xff", "UTF-8"), (b"... ?!", "no word"), (b"", "no word"), ("水".encode(), "no word")]
)
def test_a_text_that_cannot_be_spoken_is_refused(folder: Path, text: bytes, reason: str) -> None:
    """With the field's name."""
    with pytest.raises(PenstockError, match=f"text: .*{reason}") as caught:
        run(folder, text)
    assert (caught.value.status, caught.value.code) == (422, "invalid-input")


def test_a_manifest_that_does_not_fit_is_refused() -> None:
    """A row for each sentence needs a stream; nothing is done with another field, nor with a speed of 0."""
    with pytest.raises(PenstockError, match="set stream: true"):
        manifest(stream=False)
    with pytest.raises(PenstockError, match="inputs has text, pitch"):
        manifest(Field("pitch", FieldKind.NUMBER, "FP32"))
    with pytest.raises(PenstockError, match="minimum above 0"):
        manifest(Field("speed", FieldKind.NUMBER, "FP32", required=False, default=1.0))


def test_its_files_belong_to_the_artifact() -> None:
    """So that a registration without them is refused."""
    assert files_of_step(manifest()) == ["voice.json", "lexicon.txt", "letters.crf"]
