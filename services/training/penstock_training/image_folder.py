"""Reads a folder of pictures, which has a folder for each label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.image_format import image_type
from penstock_common.manifest import Manifest
from penstock_common.manifest_values import MAX_FILE_BYTES
from penstock_common.preprocessing.steps import model_tensors, preprocess
from penstock_training.label_counts import MAX_LABELS, check_counts
from penstock_training.table_file import bad_data

MAX_FILES = 100_000
#: Bytes of the pictures once they have the size that the network takes.
MAX_PIXEL_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures.

    Attributes:
        pixels: ``float32 [N, C, H, W]``, as the pre-processing makes them.
        truth: ``int64 [N]``, positions in ``labels``.
        digest: SHA-256 of the files.
        left_out: how many were left out, by the reason.
    """

    pixels: NDArray[np.float32]
    truth: NDArray[np.int64]
    labels: list[str]
    digest: str
    left_out: dict[str, int]


@dataclass(frozen=True)
class ImageFiles:
    """The different files of each label, which are in the order of the labels' names."""

    paths: list[Path]
    truth: list[int]
    labels: list[str]
    digest: str
    copies: int


def find_images(folder: Path) -> ImageFiles:
    """Find the files in the folders of ``folder``; hidden ones and files beside the folders do not count.

    Raises:
        PenstockError: 422 ``bad-data`` naming the file or folder, and the remedy.
    """
    labels = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(labels) > MAX_LABELS:
        raise bad_data(
            f"{folder} has {len(labels):,} folders, one for each label; {MAX_LABELS} labels at most are learned."
        )
    paths: dict[str, Path] = {}
    truth: dict[str, int] = {}
    copies = 0
    for number, (path, label) in enumerate(_files(folder, labels), 1):
        if number > MAX_FILES:
            raise bad_data(f"{folder} has more than {MAX_FILES:,} pictures; train on a random part of them.")
        data = path.read_bytes() if path.stat().st_size <= MAX_FILE_BYTES else b""
        if image_type(data) is None:
            raise bad_data(
                f"{path} is not a PNG, JPEG or WebP of at most {MAX_FILE_BYTES:,} bytes; convert it, or take it away."
            )
        key = hashlib.sha256(data).hexdigest()
        if truth.setdefault(key, label) != label:
            raise bad_data(f"{path} is the same picture as {paths[key]}, which has another label; remove one of them.")
        copies += key in paths
        paths.setdefault(key, path)
    check_counts(labels, list(truth.values()), "pictures")
    content = "".join(f"{labels[truth[key]]} {key}\n" for key in paths)
    return ImageFiles(
        list(paths.values()), list(truth.values()), labels, hashlib.sha256(content.encode()).hexdigest(), copies
    )


def _files(folder: Path, labels: list[str]) -> Iterator[tuple[Path, int]]:
    for label, name in enumerate(labels):
        for path in sorted((folder / name).iterdir()):
            if path.is_file() and not path.name.startswith("."):
                yield path, label


def read_pictures(files: ImageFiles, manifest: Manifest) -> Pictures:
    """Decode the files as pods will, by the manifest's pre-processing.

    Raises:
        PenstockError: 422 ``bad-data`` if there are too many, or naming the file that cannot be decoded.
    """
    shape = model_tensors(manifest)[0].shape
    size = 4 * int(np.prod(shape)) * len(files.paths)
    if size > MAX_PIXEL_BYTES:
        raise bad_data(
            f"{len(files.paths):,} pictures take {size / 1e9:.1f} GB, and "
            f"{MAX_PIXEL_BYTES / 1e9:.0f} GB are allowed; choose a smaller --side, or train on a random part of them."
        )
    pixels = np.empty((len(files.paths), *shape), np.float32)
    encoded = np.empty(1, np.object_)
    for i, path in enumerate(files.paths):
        encoded[0] = path.read_bytes()
        try:
            [decoded] = preprocess(manifest, {manifest.inputs[0].name: encoded})
        except PenstockError as err:
            raise bad_data(f"{path}: {err.detail.partition(': ')[2]}") from None
        pixels[i] = decoded[0]
    return Pictures(pixels, np.array(files.truth), files.labels, files.digest, {"copies": files.copies})
