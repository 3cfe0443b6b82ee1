"""ONNX models, run by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.onnx_bf16 import run_with_bf16
from penstock_inference.runners.runner import FileAnswer, FileTensor
from penstock_inference.runners.texts import encoded, texts

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32", "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32", "tensor(uint64)": "UINT64",
    "tensor(bfloat16)": "BF16", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}  # fmt: skip


class OnnxRunner:
    """A session of ONNX Runtime; ``threads`` is the number of threads of one operator."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [
            FileTensor(node.name, _DATATYPES.get(node.type, node.type), _shape(node.shape))
            for node in self._session.get_inputs()
        ] + [
            FileTensor(node.name, _DATATYPES.get(node.type, node.type), _shape(node.shape), required=False)
            for node in self._session.get_overridable_initializers()
        ]
        # A scikit-learn classifier may also give a list of dictionaries, which no manifest can declare.
        self._outputs = [node.name for node in self._session.get_outputs() if node.type.startswith("tensor(")]
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._bf16 = any(node.type == "tensor(bfloat16)" for node in nodes)

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        feeds = {
            tensor.name: texts(array) for tensor, array in zip(self.inputs, inputs, strict=True) if array is not None
        }
        outputs = (
            run_with_bf16(self._session, self._outputs, feeds)
            if self._bf16
            else self._session.run(self._outputs, feeds)
        )
        return {name: encoded(np.asarray(output)) for name, output in zip(self._outputs, outputs, strict=True)}

    def changed_state(self) -> list[str]:
        return []  # a session keeps nothing between runs


def load(path: Path, manifest: Manifest, threads: int) -> OnnxRunner:
    """Load an ``.onnx`` file."""
    return OnnxRunner(path, threads)


def _shape(dimensions: list[Any]) -> tuple[int, ...] | None:
    """A symbol or None stands for a dimension that varies; an empty list for a scalar and for an unknown shape."""
    return tuple([size if isinstance(size, int) else -1 for size in dimensions]) or None
