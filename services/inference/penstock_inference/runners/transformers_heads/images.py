"""Models that read images: classifiers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from penstock_common.manifest import Manifest
from penstock_inference.runners.transformers_heads.classifier import check_labels, classifier
from penstock_inference.runners.transformers_heads.pretrained import load_pretrained, load_weights
from penstock_inference.runners.transformers_heads.runner import TransformersRunner, bytes_inputs


def image_classifier(path: Path, manifest: Manifest, device: torch.device) -> TransformersRunner:
    """Load a model that gives ``probabilities`` and ``logits`` for an image.

    Raises:
        ModelMismatchError: the labels or the inputs are not the manifest's.
    """
    inputs = bytes_inputs(manifest, 1, "one image")
    model = load_weights(transformers.AutoModelForImageClassification, path, device)
    check_labels(manifest, model.config)
    return TransformersRunner(inputs, classifier(model, _images_to_tensors(path, device)))


def _images_to_tensors(path: Path, device: torch.device) -> Callable[[Sequence[NDArray[Any] | None]], Any]:
    processor = load_pretrained(transformers.AutoImageProcessor, path)

    def to_tensors(arrays: Sequence[NDArray[Any] | None]) -> Any:
        [images] = [array for array in arrays if array is not None]
        return processor([_image(data) for data in images.tolist()], return_tensors="pt").to(device)

    return to_tensors


def _image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
