"""The formats a model's file may have, behind one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.export.passes import move_to_device_pass

from penstock_common.manifest import Format, Manifest


class Runner(Protocol):
    """Runs a batch. Blocking; called from one thread at a time."""

    def __call__(self, tensors: list[NDArray[Any]]) -> list[NDArray[Any]]: ...


class TorchRunner:
    """A ``torch.export`` program or a TorchScript module, which lies on ``device``."""

    def __init__(self, module: Callable[..., Any], device: torch.device) -> None:
        self._module = module
        self._device = device

    def __call__(self, tensors: list[NDArray[Any]]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            answer = self._module(*[torch.from_numpy(array).to(self._device) for array in tensors])
        outputs = [answer] if isinstance(answer, torch.Tensor) else list(answer)
        return [output.cpu().numpy() for output in outputs]


class OnnxRunner:
    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [node.name for node in self._session.get_inputs()]

    def __call__(self, tensors: list[NDArray[Any]]) -> list[NDArray[Any]]:
        outputs = self._session.run(None, dict(zip(self._names, tensors, strict=True)))
        return [np.asarray(output) for output in outputs]


def load_runner(manifest: Manifest, folder: Path, threads: int) -> Runner:
    """Load a model's file. Raises whatever the format's library raises.

    PyTorch's formats run on the GPU where the pod has one, ONNX always on the CPU.
    """
    path = folder / manifest.file
    if manifest.format is Format.ONNX:
        return OnnxRunner(path, threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if manifest.format is Format.TORCHSCRIPT:
        return TorchRunner(torch.jit.load(path, map_location=device).eval(), device)
    # The devices are written into a program's graph: those of the machine that exported it.
    program = move_to_device_pass(torch.export.load(path), device)
    return TorchRunner(program.module(), device)
