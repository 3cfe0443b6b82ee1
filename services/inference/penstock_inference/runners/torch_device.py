"""Where a model of PyTorch runs, the pod's GPU or its CPU: precision, memory, and the way of arrays there and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from penstock_common.manifest import Manifest, Precision
from penstock_inference.runners.device_in_use import use_gpu
from penstock_inference.runners.gpu_memory import check_gpu_memory
from penstock_inference.runners.runner import FileAnswer, FileTensor, PassesProgressOn, Runner
from penstock_inference.runners.torch_arrays import tensor_of
from penstock_inference.runners.weight_bytes import weight_bytes

_DTYPES = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}


class TorchDevice:
    """The device of this process's one model. Its parent asks for no GPU: after that, it could not fork any more.

    Args:
        threads: of one operator, on the CPU.
        file: of the model, or its folder; a GPU without room for it is refused before the load.

    Raises:
        GpuMemoryError: the GPU has less memory left than the model needs.

    Attributes:
        device: for weights and inputs.
        autocast: the half precision in which matrices are multiplied; None for the precision of the file.
    """

    def __init__(self, manifest: Manifest, file: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        options = manifest.acceleration
        self.device = torch.device("cpu")
        if torch.cuda.is_available():
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.autocast = _DTYPES.get(options.dtype)
        self._stream: torch.cuda.Stream | None = None
        if self.on_gpu:
            free, total = torch.cuda.mem_get_info(self.device)
            weights = weight_bytes(file, manifest, on_gpu=True)
            bound = check_gpu_memory(weights, options.gpu_memory_mb, free=free, total=total)
            torch.cuda.set_per_process_memory_fraction(bound / total, self.device)
            # The default stream would wait for every other one, and cannot be recorded.
            self._stream = torch.cuda.Stream(self.device)
            use_gpu(torch.cuda.get_device_name(self.device), torch.cuda.memory_reserved)
        elif self.autocast is torch.float16:
            self.autocast = None  # a CPU computes it thirty times as slowly as float32

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let what runs within compute no gradients, in the precision and on the stream of this device."""
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self._stream is not None:
                self._stream.wait_stream(torch.cuda.default_stream(self.device))  # where the weights were loaded
                stack.enter_context(torch.cuda.stream(self._stream))
            if self.autocast is not None:
                # Without a cache: a recording would read weights that the cache has dropped.
                stack.enter_context(torch.autocast(self.device.type, self.autocast, cache_enabled=False))
            yield

    def put(self, arrays: Sequence[NDArray[Any] | None]) -> list[torch.Tensor | None]:
        """Return arrays as tensors on the device. To a GPU they go through pinned memory, without waiting for it."""
        tensors = [None if array is None else tensor_of(array) for array in arrays]
        if not self.on_gpu:
            return tensors
        return [
            None if tensor is None else tensor.pin_memory().to(self.device, non_blocking=True) for tensor in tensors
        ]

    def take(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the answers of a run in the CPU's memory; those that autocast left in half precision, as float32."""
        widened = [tensor.float() if tensor.dtype == self.autocast else tensor for tensor in tensors]
        if self._stream is None:
            return widened
        # The copies go to pinned memory too, and all of them are under way before the one wait.
        copies = [tensor.to("cpu", non_blocking=True) for tensor in widened]
        self._stream.synchronize()
        return copies


class OnDevice(PassesProgressOn):
    """A runner that brings its tensors to the device itself, and for the rest runs as ``TorchDevice.running`` says."""

    def __init__(self, device: TorchDevice, runner: Runner) -> None:
        self._device = device
        self._runner = runner

    @property
    def inputs(self) -> Sequence[FileTensor]:
        return self._runner.inputs

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        with self._device.running():
            return self._runner.run(inputs)

    def changed_state(self) -> list[str]:
        return self._runner.changed_state()
