"""Models that read images: classifiers and finders of objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from penstock_common.manifest import Manifest
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.pictures import decode_picture
from penstock_inference.runners.texts import json_column
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.transformers_heads.classifier import check_labels, classifier
from penstock_inference.runners.transformers_heads.pretrained import load_pretrained, load_weights
from penstock_inference.runners.transformers_heads.runner import TransformersRunner, bytes_inputs

Arrays = Sequence[NDArray[Any] | None]

#: As the library's pipeline has it.
_DEFAULT_THRESHOLD = 0.5


def image_classifier(path: Path, manifest: Manifest, device: TorchDevice) -> TransformersRunner:
    """Load a model that gives ``probabilities`` and ``logits`` for an image.

    Raises:
        ModelMismatchError: the labels or the inputs are not the manifest's, or it sets parameters.
    """
    parameters_of(manifest)
    inputs = bytes_inputs(manifest, 1, "one image")
    model = load_weights(transformers.AutoModelForImageClassification, path, device)
    check_labels(manifest, model.config)
    processor = load_pretrained(transformers.AutoImageProcessor, path)

    def to_tensors(arrays: Arrays) -> Any:
        return processor(_pictures(manifest, arrays), return_tensors="pt").to(device.device)

    return TransformersRunner(inputs, classifier(model, to_tensors))


def object_finder(path: Path, manifest: Manifest, device: TorchDevice) -> TransformersRunner:
    """Load a model that gives ``boxes``, a JSON list for each image: label, score, box, the best score first.

    A box is ``[x0, y0, x1, y1]`` in pixels of the picture that was sent. The parameter ``threshold`` is the score above
    which an object counts, 0.5 if absent.

    Raises:
        ModelMismatchError: the inputs are not the manifest's, or it sets other parameters.
    """
    parameters = parameters_of(manifest, "threshold")
    threshold = _DEFAULT_THRESHOLD if parameters.threshold is None else parameters.threshold
    inputs = bytes_inputs(manifest, 1, "one image")
    model = load_weights(transformers.AutoModelForObjectDetection, path, device)
    processor = load_pretrained(transformers.AutoImageProcessor, path)
    names = model.config.id2label

    def found_in(picture: Image.Image) -> list[dict[str, Any]]:
        answer = model(**processor(picture, return_tensors="pt").to(device.device))
        size = (picture.height, picture.width)
        [found] = processor.post_process_object_detection(answer, threshold=threshold, target_sizes=[size])
        corners = found["boxes"].clamp(min=0).minimum(torch.tensor([*size[::-1], *size[::-1]], device=device.device))
        objects = [
            {"label": names[label], "score": round(score, 6), "box": [round(side, 2) for side in box]}
            for label, score, box in zip(
                found["labels"].tolist(), found["scores"].tolist(), corners.tolist(), strict=True
            )
        ]
        return sorted(objects, key=lambda item: -item["score"])

    def run(arrays: Arrays) -> dict[str, NDArray[Any]]:
        # One by one: pictures of different sizes would be padded, which changes what is found in them.
        found = [found_in(picture) for picture in _pictures(manifest, arrays)]
        return {"boxes": json_column(found)}

    return TransformersRunner(inputs, run)


def _pictures(manifest: Manifest, arrays: Arrays) -> list[Image.Image]:
    [files] = [array for array in arrays if array is not None]
    return [decode_picture(manifest.inputs[0].name, data) for data in files.tolist()]
