"""A pretrained ONNX model that tells what kind of file some bytes are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
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
