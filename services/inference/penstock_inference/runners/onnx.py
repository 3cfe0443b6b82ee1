"""ONNX models, run by ONNX Runtime on the pod's GPU, if it has one and the package is built for it, or on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.batch_sizes import FilledBatches
from penstock_inference.runners.device_in_use import use_gpu
from penstock_inference.runners.gpu_files import gpu_devices, gpu_name
from penstock_inference.runners.onnx_bf16 import run_with_bf16
from penstock_inference.runners.onnx_classes import check_class_order
from penstock_inference.runners.row_streams import RowStreams
from penstock_inference.runners.runner import (
    FileAnswer,
    FileTensor,
    ModelMismatchError,
    Runner,
    StreamingRunner,
)
from penstock_inference.runners.texts import encoded, texts

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32", "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32", "tensor(uint64)": "UINT64",
    "tensor(bfloat16)": "BF16", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}  # fmt: skip


_CUDA = "CUDAExecutionProvider"
#: What the operator ZipMap gives, at the end of scikit-learn's classifiers: for each row, a dictionary with all classes.
_ZIP_MAP = "seq(map("


class OnnxRunner:
    """A session of ONNX Runtime.

    Args:
        providers: of operators, with their options; the first that has an operator runs it.
        threads: of one operator, on the CPU.
        labels: of the manifest's classes; empty if it has none.

    Attributes:
        names_classes: its scores come with the names of their classes.
    """

    def __init__(
        self,
        path: Path,
        providers: Sequence[tuple[str, dict[str, Any]]],
        threads: int,
        labels: Sequence[str],
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self.inputs = [
            FileTensor(node.name, _DATATYPES.get(node.type, node.type), _shape(node.shape))
            for node in self._session.get_inputs()
        ] + [
            FileTensor(node.name, _DATATYPES.get(node.type, node.type), _shape(node.shape), required=False)
            for node in self._session.get_overridable_initializers()
        ]
        self._labels = labels
        given = self._session.get_outputs()
        self._outputs = [node.name for node in given if node.type.startswith(("tensor(", _ZIP_MAP))]
        self.names_classes = any(node.type.startswith(_ZIP_MAP) for node in given)
        nodes = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._bf16 = any(node.type == "tensor(bfloat16)" for node in nodes)

    @property
    def on_gpu(self) -> bool:
        """Whether the session has a GPU; without its libraries or driver, ONNX Runtime keeps to the CPU."""
        return _CUDA in self._session.get_providers()

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        feeds = {
            tensor.name: texts(array) for tensor, array in zip(self.inputs, inputs, strict=True) if array is not None
        }
        outputs = (
            run_with_bf16(self._session, self._outputs, feeds)
            if self._bf16
            else self._session.run(self._outputs, feeds)
        )
        return {
            name: self._scores(output) if isinstance(output, list) else encoded(np.asarray(output))
            for name, output in zip(self._outputs, outputs, strict=True)
        }

    def _scores(self, rows: list[dict[Any, float]]) -> NDArray[Any]:
        """Return scikit-learn's scores ``[rows, classes]``, in the order of the labels, or of the classes' numbers.

        Raises:
            ModelMismatchError: the classes have names, and the labels are others.
        """
        classes = list(rows[0]) if rows else []
        if self._labels and all(isinstance(name, str) for name in classes):
            if sorted(classes) != sorted(self._labels):
                raise ModelMismatchError(
                    f"The file's classes are {', '.join(classes)}; the labels are {', '.join(self._labels)}."
                )
            classes = [*self._labels]
        return np.array([[row[name] for name in classes] for row in rows], np.float32)

    def changed_state(self) -> list[str]:
        return []  # a session keeps nothing between runs


def load(path: Path, manifest: Manifest, threads: int) -> Runner:
    """Load an ``.onnx`` file.

    Raises:
        ModelMismatchError: the labels are its classes in another order.
    """
    runner = OnnxRunner(path, _providers(manifest.acceleration.gpu_memory_mb), threads, manifest.labels)
    if not runner.names_classes:
        check_class_order(path, manifest)
    if not runner.on_gpu:
        return runner
    use_gpu(gpu_name())
    sizes = manifest.acceleration.batch_sizes
    return FilledBatches(runner, sizes) if sizes else runner


def load_streaming(path: Path, manifest: Manifest, threads: int) -> StreamingRunner:
    """Load an ``.onnx`` file that answers each row of its pre-processing with a chunk."""
    return RowStreams(load(path, manifest, threads), manifest)


def _providers(gpu_memory_mb: int | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the GPU's provider, if there are both, before that of the CPU.

    Args:
        gpu_memory_mb: that tensors may take on the GPU; None for no bound.
    """
    cpu: tuple[str, dict[str, Any]] = ("CPUExecutionProvider", {})
    if not gpu_devices() or _CUDA not in onnxruntime.get_available_providers():
        return [cpu]
    onnxruntime.preload_dlls()  # CUDA's libraries, from the packages that PyTorch brings
    options: dict[str, Any] = {"arena_extend_strategy": "kSameAsRequested"}
    if gpu_memory_mb is not None:
        options["gpu_mem_limit"] = gpu_memory_mb * 2**20
    return [(_CUDA, options), cpu]


def _shape(dimensions: list[Any]) -> tuple[int, ...] | None:
    """A symbol or None stands for a dimension that varies; an empty list for a scalar and for an unknown shape."""
    return tuple([size if isinstance(size, int) else -1 for size in dimensions]) or None
