"""Pictures to the faces in them, by MTCNN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from penstock_common.manifest import Manifest
from penstock_inference.architectures.face_search import FaceSearch
from penstock_inference.architectures.mtcnn import Mtcnn
from penstock_inference.runners.pictures import decode_picture, picture_field
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError, tell_nobody
from penstock_inference.runners.texts import json_column

#: Those of 4K. A larger picture is made smaller, since P-Net takes some 40 bytes for each pixel.
_MOST_PIXELS = 3840 * 2160
_LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_DIGITS = 2


class FaceFinder:
    """Takes an encoded picture; gives ``faces``, a JSON list of ``{box, score, landmarks}``, the best score first.

    ``box`` is left, top, right and bottom, a landmark ``[x, y]``, in pixels of the picture as its EXIF data turns it. A
    box is cut at the picture's edges; a landmark may lie beyond. Pictures are looked at one after the other.

    Args:
        network: with its weights, on the device.

    Raises:
        ModelMismatchError: the manifest does not take one picture, or asks for batches.
    """

    def __init__(self, network: Mtcnn, manifest: Manifest, device: torch.device) -> None:
        self._field = picture_field(manifest)
        if manifest.acceleration.batch_sizes:
            raise ModelMismatchError("acceleration.batch_sizes: mtcnn runs pictures one by one; leave it out.")
        self.tell_progress: Callable[[], None] = tell_nobody
        self.inputs = [FileTensor(self._field.source or self._field.name, "BYTES", (-1,))]
        self._search = FaceSearch(network, device, lambda: self.tell_progress())

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        (pictures,) = inputs
        assert pictures is not None
        return {"faces": json_column(self._faces(data) for data in pictures.tolist())}

    def changed_state(self) -> list[str]:
        return []  # a search keeps nothing

    def _faces(self, data: bytes) -> list[dict[str, Any]]:
        picture = decode_picture(self._field.name, data, on_white=True)
        smaller, times = _made_smaller(picture)
        found = self._search.find(torch.from_numpy(np.array(smaller)))
        edges = torch.tensor([picture.width, picture.height] * 2)
        boxes = (found.boxes * times).clamp(min=0).minimum(edges)
        return [
            {
                "box": [round(side, _DIGITS) for side in box],
                "score": round(score, 6),
                "landmarks": {
                    name: [round(place * times, _DIGITS) for place in point]
                    for name, point in zip(_LANDMARKS, points, strict=True)
                },
            }
            for box, score, points in zip(boxes.tolist(), found.scores.tolist(), found.points.tolist(), strict=True)
        ]


def _made_smaller(picture: Image.Image) -> tuple[Image.Image, int]:
    """Return a picture that is not too large, and how many times as wide and high the one that was sent is."""
    times = math.ceil(math.sqrt(picture.width * picture.height / _MOST_PIXELS))
    return (picture, 1) if times <= 1 else (picture.reduce(times), times)
