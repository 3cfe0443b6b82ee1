"""The formats a model's file may have, behind one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.fx.graph import CodeGen
from torch.utils._pytree import tree_leaves

from penstock_common.manifest import Format, Manifest


class Runner(Protocol):
    """Runs a batch. Blocking; called from one thread at a time."""

    def __call__(self, tensors: list[NDArray[Any]]) -> list[NDArray[Any]]: ...


class ExportedFunction:
    """A ``torch.export`` program as a function of tensors that gives its outputs as a flat sequence.

    As PyTorch runs it, a small program spends more time in Python than in its
    operators: guards, the structure of arguments, an object around each operator.
    Guards depend on nothing but the inputs' shapes, as their types are the
    manifest's; so each shape passes them once and runs bare from then on.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self._guarded = program.module()
        self._bare = _bare(program)
        self._passed: set[tuple[torch.Size, ...]] = set()

    def __call__(self, *tensors: torch.Tensor) -> Sequence[torch.Tensor]:
        shapes = tuple([tensor.shape for tensor in tensors])
        if shapes in self._passed:
            return self._bare(*tensors)
        answer: list[torch.Tensor] = tree_leaves(self._guarded(*tensors))
        self._passed.add(shapes)
        return answer


def _bare(program: ExportedProgram) -> Callable[..., Sequence[torch.Tensor]]:
    """The program's operators called one after the other, and nothing else; the weights are the program's."""
    module = program.module(check_guards=False)
    module.graph.set_codegen(CodeGen())  # tensors in and out as they are in the graph, in no structure
    for node in module.graph.nodes:
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
        elif isinstance(node.target, OpOverload):
            node.target = _unwrapped(node.target)
    module.recompile()
    return module.forward  # calling the module would run its hooks, which are guards


def _unwrapped(operator: OpOverload) -> Callable[..., Any]:
    """The C function that ``operator`` calls, with the names that generated code needs."""
    function: Any = partial(operator._op)
    function.__name__, function.__module__ = operator.__name__, "aten"
    return function  # type: ignore[no-any-return]


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
    return TorchRunner(ExportedFunction(program), device)
