"""A network of PaddleOCR in an ONNX file: one tensor in, one out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from penstock_inference.runners.runner import ModelMismatchError

#: ``uint8 [height, width, 3]``: blue, green, red.
Pixels = NDArray[Any]


class Network:
    """A session of ONNX Runtime on the CPU.

    Args:
        threads: of one operator.

    Raises:
        ModelMismatchError: it does not take one tensor.
    """

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # It would keep the memory of the largest picture: every size takes another plan.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(node.name for node in inputs)
            raise ModelMismatchError(
                f"{path.name} takes {len(inputs)} tensors ({names}); a network of PaddleOCR takes one."
            )
        self._input = inputs[0].name

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Return the first output for images ``[rows, 3, height, width]``."""
        return np.asarray(self._session.run(None, {self._input: images})[0])


def resized(pixels: Pixels, width: int, height: int) -> NDArray[np.float32]:
    """Return an image in another size as the networks take it: ``[3, height, width]``, from -1 to 1."""
    scaled = cv2.resize(pixels, (width, height)).transpose(2, 0, 1).astype(np.float32)
    scaled /= 255
    scaled -= 0.5
    scaled /= 0.5
    return scaled
