"""ONNX models, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray


class OnnxRunner:
    """A session of ONNX Runtime; ``threads`` is the number of threads of one operator."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [node.name for node in self._session.get_inputs()]

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        outputs = self._session.run(None, dict(zip(self._names, batch, strict=True)))
        return [np.asarray(output) for output in outputs]


def load(path: Path, threads: int) -> OnnxRunner:
    """Load an ``.onnx`` file."""
    return OnnxRunner(path, threads)
