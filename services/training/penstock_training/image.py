"""Image: a classifier of any labelled pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.service import Service
from penstock_training.artifact import FILES, save
from penstock_training.evaluate import classification, write_report
from penstock_training.fit import Progress, fit
from penstock_training.image_folder import Pictures, find_images, read_pictures
from penstock_training.image_network import SIDES, ImageNetwork
from penstock_training.pipeline import HELD_OUT, Trained

EPOCHS = 30
#: Pictures that all epochs see at most, of which there are 5 at least.
_MOST_SEEN = 300_000
_MIN_EPOCHS = 5
_ROWS_AT_ONCE = 256


def train(
    name: str, data: Path, side: int, folder: Path, format_: Format | None, seed: int, progress: Progress
) -> Trained:
    """Train a classifier of the pictures in a folder, which has a folder for each label.

    Args:
        side: to which pictures are resized, one of ``SIDES``.

    Raises:
        PenstockError: 422 ``bad-data``, ``bad-side``.
    """
    if side not in SIDES:
        raise PenstockError(422, "bad-side", f"--side {side} is none of {', '.join(map(str, SIDES))}.")
    files = find_images(data)
    manifest = Manifest(
        format=format_ or Format.TORCH_EXPORT,
        file=FILES[format_ or Format.TORCH_EXPORT],
        task=Task.CLASSIFICATION,
        inputs=[Field("image", FieldKind.IMAGE, "BYTES")],
        outputs=[Output("probabilities", "FP32", [len(files.labels)])],
        labels=files.labels,
        preprocess=Preprocess("image", {"size": [side, side]}),
        batching=Batching(max_batch_size=64),
        service=Service.IMAGE_CLASSIFICATION,
        description=f"Says of a picture which of {len(files.labels)} labels it has.",
    )
    pictures = read_pictures(files, manifest)
    return train_images(name, pictures, manifest, folder, seed, progress)


def train_images(
    name: str, pictures: Pictures, manifest: Manifest, folder: Path, seed: int, progress: Progress
) -> Trained:
    """Train, evaluate and save a classifier of pictures."""
    images, targets = torch.from_numpy(pictures.pixels), torch.from_numpy(pictures.truth)
    count, channels, side, _ = images.shape
    train_rows, test_rows = train_test_split(
        np.arange(count), test_size=HELD_OUT, stratify=pictures.truth, random_state=seed
    )
    rng = torch.Generator().manual_seed(seed)

    def batch(rows: NDArray[np.int64]) -> tuple[tuple[Tensor, ...], Tensor]:
        chosen = images[rows]
        # Pens, lights and scanners differ, so the contrast varies and there is a little noise.
        contrast = 0.8 + 0.4 * torch.rand(len(rows), 1, 1, 1, generator=rng)
        noise = 0.05 * torch.randn(chosen.shape, generator=rng)
        return ((chosen * contrast + noise).clamp(0.0, 1.0),), targets[rows]

    torch.manual_seed(seed)
    model = ImageNetwork(channels, side, len(pictures.labels))
    epochs = max(_MIN_EPOCHS, min(EPOCHS, _MOST_SEEN // count))
    fit(
        model, model.logits, batch, train_rows, nn.functional.cross_entropy,
        epochs=epochs, learning_rate=0.01, batch_size=64, seed=seed, progress=progress, weight_decay=1e-4,
    )  # fmt: skip
    with torch.no_grad():
        parts = np.array_split(test_rows, -(-len(test_rows) // _ROWS_AT_ONCE))
        probabilities = np.concatenate([model(images[part]).numpy() for part in parts])
    report = classification(probabilities, pictures.truth[test_rows], pictures.labels, pictures.truth[train_rows])
    report["left_out"] = pictures.left_out
    save(folder, model, manifest, (images[:4],), ({0: torch.export.Dim("batch", min=1, max=4096)},))
    write_report(folder, name, report)
    return Trained(report, "accuracy", True, pictures.digest, count, {"epochs": epochs, "seed": seed})
