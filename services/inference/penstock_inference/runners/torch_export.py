"""``torch.export`` programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.fx.graph import CodeGen
from torch.utils._pytree import tree_leaves

from penstock_common.manifest import Manifest
from penstock_inference.runners.program_signature import ProgramSignature
from penstock_inference.runners.runner import Runner
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.torch_runner import accelerated


def load(path: Path, manifest: Manifest, threads: int) -> Runner:
    """Load a ``.pt2`` file.

    Raises:
        GpuMemoryError: if the GPU has no room for it.
        ModelMismatchError: if the program takes or returns what is neither a tensor nor a constant.
    """
    device = TorchDevice(manifest, path, threads)
    # A program's graph names devices: those of the machine that exported it.
    program = move_to_device_pass(torch.export.load(path), device.device)
    function = ExportedFunction(program)
    return accelerated(function, function.signature.inputs, function.weights, device, manifest.acceleration)


#: Shapes that are remembered, each tens of bytes; a model whose shapes vary may see any number.
_MOST_SHAPES = 10_000


class ExportedFunction:
    """A ``torch.export`` program as a function of its tensors, which returns them by name if the program has names.

    Called as PyTorch provides it, a small program spends more time in Python than
    in its operators: on guards, on the structure of its arguments, on an object
    around each operator. The guards depend only on the shapes of the inputs, since
    the manifest fixes their types. So the first call with each shape runs with the
    guards, and later calls run without them.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.signature = ProgramSignature(program)
        self._guarded = program.module()
        _erase_type_checks(self._guarded)
        self._unguarded = _unguarded(program)
        self._passed: set[tuple[torch.Size, ...]] = set()

    def __call__(self, *tensors: torch.Tensor) -> dict[str, torch.Tensor] | list[torch.Tensor]:
        shapes = tuple([tensor.shape for tensor in tensors])
        if shapes in self._passed:
            return self.signature.answer(self._unguarded(*self.signature.leaves(tensors)))
        args, kwargs = self.signature.arguments(tensors)
        answer = self.signature.answer(tree_leaves(self._guarded(*args, **kwargs)))
        if len(self._passed) < _MOST_SHAPES:
            self._passed.add(shapes)
        return answer

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the parameters and buffers by name."""
        return dict(self._guarded.named_parameters()) | dict(self._guarded.named_buffers())


def _unguarded(program: ExportedProgram) -> Callable[..., Sequence[Any]]:
    """Return a function that calls the program's operators one after the other; it shares the program's weights."""
    module = program.module(check_guards=False)
    module.graph.set_codegen(CodeGen())  # tensors in and out as they are in the graph, not in the exported structure
    _erase_type_checks(module)
    for node in module.graph.nodes:
        if isinstance(node.target, OpOverload):
            node.target = _native(node.target)
    module.recompile()
    return module.forward  # calling the module would run its hooks, and these are guards


def _erase_type_checks(module: torch.fx.GraphModule) -> None:
    """Remove the checks that tensors on the way have the types of the export, which autocast changes."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    module.recompile()


def _native(operator: OpOverload) -> Callable[..., Any]:
    """Return the C function that ``operator`` calls, with the attributes that the generated code needs."""
    function: Any = partial(operator._op)
    function.__name__, function.__module__ = operator.__name__, "aten"
    return function  # type: ignore[no-any-return]
