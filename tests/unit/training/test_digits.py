"""The digits pipeline: its data, and the accuracy of its saved model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_training.digits import png, train


def test_a_scan_becomes_dark_ink_on_white_paper() -> None:
    """Ink 16 is black, ink 0 is white, and each side is 16 times as long."""
    scan = np.zeros((8, 8))
    scan[:4] = 16.0
    image = Image.open(io.BytesIO(png(scan)))
    assert (image.size, image.mode) == ((128, 128), "L")
    assert (image.getpixel((64, 10)), image.getpixel((64, 118))) == (0, 255)


def test_it_takes_no_data(tmp_path: Path) -> None:
    """A data file is refused rather than ignored."""
    with pytest.raises(PenstockError, match="leave --data out"):
        train(tmp_path / "data.csv", tmp_path, None, 0, lambda *_: None)


def test_the_saved_model_reads_digits(tmp_path: Path) -> None:
    """Loaded again, it returns ten probabilities per row, reads the scans, and answers a row alike in a batch."""
    trained = train(None, tmp_path, None, 0, lambda *_: None)
    assert trained.report["metrics"]["accuracy"] > 0.95
    assert sum(map(sum, trained.report["confusion"])) == 360, "a fifth of 1,797 scans is held out"
    manifest = parse_manifest((tmp_path / MANIFEST_FILE).read_bytes())
    model = onnxruntime.InferenceSession(tmp_path / manifest.file)
    bundle = load_digits()
    scans = (bundle.images[:200, np.newaxis] / 16.0).astype(np.float32)
    (name,) = [tensor.name for tensor in model.get_inputs()]
    (batch,) = model.run(None, {name: scans})
    (alone,) = model.run(None, {name: scans[:1]})
    assert batch.sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    assert (batch.argmax(axis=1) == bundle.target[:200]).mean() > 0.95
    assert alone[0] == pytest.approx(batch[0], abs=1e-5)
