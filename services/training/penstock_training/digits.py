"""Digits: a small convolutional network, trained on the 1,797 scans (8x8) that scikit-learn includes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.service import Service
from penstock_training.artifact import FILES, save
from penstock_training.evaluate import classification, write_report
from penstock_training.fit import Progress, fit
from penstock_training.pipeline import HELD_OUT, Trained, digest

LABELS = [str(n) for n in range(10)]
EPOCHS = 30


class DigitNet(nn.Module):
    """``float32 [N, 1, 8, 8]``, ink 1 on paper 0, to probabilities ``float32 [N, 10]``."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * 16, 10),
        )  # fmt: skip

    def logits(self, image: Tensor) -> Tensor:
        return self.layers(image)  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        return torch.softmax(self.logits(image), dim=1)


def train(data: Path | None, folder: Path, format_: Format | None, seed: int, progress: Progress) -> Trained:
    """The digits ``Pipeline``, which takes no data file.

    Raises:
        PenstockError: 422 ``bad-data`` if ``data`` is given.
    """
    if data is not None:
        raise PenstockError(422, "bad-data", "digits trains on the scans that scikit-learn includes; leave --data out.")
    bundle = load_digits()
    images = torch.tensor(bundle.images, dtype=torch.float32).unsqueeze(1) / 16.0
    targets = torch.tensor(bundle.target)
    train_rows, test_rows = train_test_split(
        np.arange(len(images)), test_size=HELD_OUT, stratify=bundle.target, random_state=seed
    )
    rng = torch.Generator().manual_seed(seed)

    def batch(rows: NDArray[Any]) -> tuple[tuple[Tensor, ...], Tensor]:
        chosen = images[rows]
        # Pens and scanners differ, so the contrast varies and there is a little noise.
        contrast = 0.8 + 0.4 * torch.rand(len(rows), 1, 1, 1, generator=rng)
        noise = 0.05 * torch.randn(chosen.shape, generator=rng)
        return ((chosen * contrast + noise).clamp(0.0, 1.0),), targets[rows]

    torch.manual_seed(seed)
    model = DigitNet()
    fit(
        model, model.logits, batch, train_rows, nn.functional.cross_entropy,
        epochs=EPOCHS, learning_rate=0.01, batch_size=64, seed=seed, progress=progress, weight_decay=1e-4,
    )  # fmt: skip
    with torch.no_grad():
        probabilities = model(images[test_rows]).numpy()
    report = classification(probabilities, targets[test_rows].numpy(), LABELS)
    manifest = _manifest(format_ or Format.ONNX, base64.b64encode(png(bundle.images[0])).decode())
    save(folder, model, manifest, (images[:4],), ({0: torch.export.Dim("batch", min=1, max=4096)},))
    write_report(folder, "digits", report)
    raw = bundle.images.tobytes() + bundle.target.tobytes()
    return Trained(report, "accuracy", True, digest(raw), len(images), {"epochs": EPOCHS, "seed": seed})


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
