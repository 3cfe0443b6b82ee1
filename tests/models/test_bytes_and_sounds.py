"""Pretrained ONNX models of files' contents and of pitch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from tests.installation import ROOT
from tests.models.packages import package_folder
from tests.models.serving import Array, Serving, flow


def first_and_last_bytes(content: bytes) -> Array:
    """Return what Magika looks at: 1024 bytes of each end without white space, padded with 256 towards the middle."""
    beginning, end = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    features = np.full(2048, 256, np.int32)
    features[: len(beginning)] = list(beginning)
    features[2048 - len(end) :] = list(end)
    return features


def test_magika(serving: Serving, tmp_path: Path) -> None:
    """Files of this repository get the types and probabilities that the model gives directly."""
    folder = package_folder("magika") / "models" / "standard_v3_3"
    labels = json.loads((folder / "config.min.json").read_text())["target_labels_space"]
    shutil.copy(folder / "model.onnx", tmp_path)
    manifest = f"""
format: onnx
file: model.onnx
task: classification
inputs: [{{name: bytes, kind: tensor, datatype: INT32, shape: [2048], minimum: 0, maximum: 256}}]
outputs: [{{name: probabilities, datatype: FP32, shape: [{len(labels)}], source: target_label}}]
labels: {flow(labels)}
batching: {{max_batch_size: 8}}
"""
    serving.serve("magika", tmp_path, manifest)
    files = ["tests/installation.py", "docs/model-format.md", "deploy/envoy/envoy.yaml", "Dockerfile"]
    features = np.stack([first_and_last_bytes((ROOT / file).read_bytes()) for file in files])
    [wanted] = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"bytes": features})
    answers = serving.predict("magika", [{"bytes": row.tolist()} for row in features])
    assert [answer["prediction"] for answer in answers] == ["python", "markdown", "yaml", "dockerfile"]
    for answer, row in zip(answers, wanted, strict=True):
        for label, probability in answer["probabilities"].items():
            np.testing.assert_allclose(probability, row[labels.index(label)], atol=1e-5)


def with_constants(model: onnx.ModelProto, **constants: float) -> onnx.ModelProto:
    """Turn inputs without dimensions into constants of the file."""
    graph = model.graph
    for name, value in constants.items():
        graph.input.remove(next(given for given in graph.input if given.name == name))
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.float32), name))
    return model


def test_swift_f0(serving: Serving, tmp_path: Path) -> None:
    """A second of a rising tone gets the pitches of a direct run, as many as there are frames, and the right ones."""
    file = package_folder("swift_f0") / "model.onnx"
    onnx.save(with_constants(onnx.load(file), fmin=46.875, fmax=2093.75), tmp_path / "model.onnx")
    manifest = """
format: onnx
file: model.onnx
task: tensor
inputs: [{name: audio, kind: tensor, datatype: FP32, shape: [16000], minimum: -1, maximum: 1}]
outputs:
  - {name: confidence, datatype: FP32, shape: [-1]}
  - {name: pitch, datatype: FP64, shape: [-1]}
batching: {max_batch_size: 1}
"""
    serving.serve("swift-f0", tmp_path, manifest)
    hertz = np.linspace(200, 400, 16000)
    phase = np.cumsum(2 * np.pi * hertz / 16000)
    audio = sum(0.2 / n * np.sin(n * phase) for n in range(1, 6)).astype(np.float32)[None]
    limits = {"fmin": np.float32(46.875), "fmax": np.float32(2093.75)}
    session = onnxruntime.InferenceSession(file)
    wanted = session.run(["pitch", "confidence"], {"audio": audio, **{k: np.array(v) for k, v in limits.items()}})
    answer = serving.infer("swift-f0", audio=audio)
    np.testing.assert_allclose(answer["pitch"], wanted[0], rtol=1e-5)
    np.testing.assert_allclose(answer["confidence"], wanted[1], atol=1e-5)
    frames = answer["pitch"][0]
    np.testing.assert_allclose(frames[4:-4], hertz[128::256][: len(frames)][4:-4], rtol=0.03)
