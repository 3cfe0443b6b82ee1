"""Models of TensorFlow are converted by the real tf2onnx; run where it is installed: pip install tensorflow tf2onnx."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from penstock_cli.model_source import Placed, place
from penstock_common.manifest import Format

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("tensorflow", "tf2onnx")), reason="needs tensorflow and tf2onnx"
)

_MAKE = """
import keras, numpy as np, tensorflow as tf
keras.utils.set_random_seed(0)
layers = [keras.Input((4,), name="features"), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(3)]
model = keras.Sequential(layers)
model.save("model.keras")
model.save("model.h5")
model.export("saved")
open("model.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
np.save("answer.npy", model.predict(np.load("rows.npy"), verbose=0))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one network in all formats, rows, and the network's own answer."""
    folder = tmp_path_factory.mktemp("made")
    np.save(folder / "rows.npy", np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", _MAKE], cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved", "model.tflite"])
def test_a_converted_model_answers_as_it_did(made: Path, name: str, tmp_path: Path) -> None:
    """Rows in any number."""
    assert place(str(made / name), tmp_path) == Placed(Format.ONNX, "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    [taken] = session.get_inputs()
    [answer] = session.run(None, {taken.name: np.load(made / "rows.npy")})
    np.testing.assert_allclose(answer, np.load(made / "answer.npy"), rtol=1e-4, atol=1e-5)
