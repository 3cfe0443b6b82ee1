"""Digits: the preset of ``image`` for the 1,797 scans (8x8) of handwritten digits that scikit-learn includes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.service import Service
from penstock_training.artifact import FILES
from penstock_training.fit import Progress
from penstock_training.image import train_images
from penstock_training.image_folder import Pictures
from penstock_training.pipeline import Trained, digest

LABELS = [str(n) for n in range(10)]


def train(data: Path | None, folder: Path, format_: Format | None, seed: int, progress: Progress) -> Trained:
    """The digits ``Pipeline``, which takes no data file.

    Raises:
        PenstockError: 422 ``bad-data`` if ``data`` is given.
    """
    if data is not None:
        raise PenstockError(
            422, "bad-data", "digits trains on the scans that scikit-learn includes; leave --data out, or train image."
        )
    bundle = load_digits()
    pixels = bundle.images[:, np.newaxis].astype(np.float32) / 16.0  # ink 1 on paper 0
    raw = bundle.images.tobytes() + bundle.target.tobytes()
    pictures = Pictures(pixels, bundle.target, LABELS, digest(raw), {})
    manifest = _manifest(format_ or Format.ONNX, base64.b64encode(png(bundle.images[0])).decode())
    return train_images("digits", pictures, manifest, folder, seed, progress)


def png(scan: NDArray[Any], scale: int = 16) -> bytes:
    """Return a scan (8x8, ink 0 to 16) as a PNG of dark ink on white paper, each side ``scale`` times as long."""
    pixels = Image.fromarray((255 - scan / 16.0 * 255).astype(np.uint8), "L")
    buffer = io.BytesIO()
    pixels.resize((8 * scale, 8 * scale), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def _manifest(format_: Format, example: str) -> Manifest:
    return Manifest(
        format=format_,
        file=FILES[format_],
        task=Task.CLASSIFICATION,
        inputs=[
            Field(
                "image", FieldKind.IMAGE, "BYTES", description="A handwritten digit, dark on light, filling the image."
            )
        ],
        outputs=[Output("probabilities", "FP32", [10], "Probabilities of the digits 0 to 9.")],
        labels=LABELS,
        preprocess=Preprocess("image", {"mode": "L", "size": [8, 8], "invert": True}),
        batching=Batching(max_batch_size=64),
        service=Service.IMAGE_CLASSIFICATION,
        description="Reads a handwritten digit.",
        examples=[{"image": example}],
    )
