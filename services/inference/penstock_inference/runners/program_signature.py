"""What a ``torch.export`` program takes and returns: the names, types and shapes of its tensors, and its structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from penstock_inference.runners.runner import FileTensor, ModelMismatchError
from penstock_inference.runners.torch_runner import DATATYPES


class ProgramSignature:
    """Translates between the flat tensors of a runner and the arguments and the answer of a program.

    An argument of ``forward`` that is a tensor has the argument's name; a tensor inside a dict, a tuple or a
    list has the key or the position after that: ``batch.ids``. An answer has names if it is a dict or has fields.

    Attributes:
        inputs: the tensors that the program takes. Constants among its arguments are those that it was exported with.
    """

    def __init__(self, program: ExportedProgram) -> None:
        values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
        arguments = [spec.arg for spec in program.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
        outputs = [spec.arg for spec in program.graph_signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
        _check_kinds(arguments, "takes")
        _check_kinds(outputs, "returns")
        self._in_spec = program.call_spec.in_spec
        self._leaves: list[Any] = [arg.value if isinstance(arg, ConstantArgument) else None for arg in arguments]
        self._positions = [i for i, arg in enumerate(arguments) if isinstance(arg, TensorArgument)]
        names = _input_names(program)
        self.inputs = [_file_tensor(names[i] if names else None, values[arguments[i].name]) for i in self._positions]
        self._output_names = output_names(program.call_spec.out_spec)
        self._outputs = [i for i, output in enumerate(outputs) if isinstance(output, TensorArgument)]

    def leaves(self, tensors: Sequence[torch.Tensor]) -> list[Any]:
        """Return the flat arguments of the program's graph."""
        leaves = list(self._leaves)
        for position, tensor in zip(self._positions, tensors, strict=True):
            leaves[position] = tensor
        return leaves

    def arguments(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the named arguments of the exported module."""
        args, kwargs = pytree.tree_unflatten(self.leaves(tensors), self._in_spec)
        return args, kwargs

    def answer(self, leaves: Sequence[Any]) -> dict[str, torch.Tensor] | list[torch.Tensor]:
        """Return the tensors of a flat answer."""
        if self._output_names is None:
            return [leaves[i] for i in self._outputs]
        return {self._output_names[i]: leaves[i] for i in self._outputs}


def _check_kinds(arguments: Sequence[Any], verb: str) -> None:
    others = [arg.name for arg in arguments if not isinstance(arg, (TensorArgument, ConstantArgument))]
    if others:
        raise ModelMismatchError(f"The program {verb} numbers that vary ({', '.join(others)}); export it with tensors.")


def _file_tensor(name: str | None, value: torch.Tensor) -> FileTensor:
    shape = tuple([size if isinstance(size, int) else -1 for size in value.shape])
    return FileTensor(name, DATATYPES.get(value.dtype, str(value.dtype)), shape)


def _input_names(program: ExportedProgram) -> list[str] | None:
    """Return a name for each leaf of the arguments; None if the program was saved without them."""
    signature = program.module_call_graph[0].signature
    names = signature and signature.forward_arg_names
    if not names:
        return None
    args, _ = _with_numbered_leaves(program.call_spec.in_spec)
    paths = []
    for path in _paths(program.call_spec.in_spec):
        where, argument, *rest = path
        if where == "1":  # of the keyword arguments
            paths.append(".".join([argument, *rest]))
        elif len(args) <= len(names):
            paths.append(".".join([names[int(argument)], *rest]))
        else:  # *args
            return None
    return paths


def output_names(spec: Any) -> list[str] | None:
    """Return a name for each leaf of an answer of that structure; None if it is a tensor, a tuple or a list."""
    answer = _with_numbered_leaves(spec)
    if isinstance(answer, (int, list)) or type(answer) is tuple:
        return None
    return [".".join(path) for path in _paths(spec)]


def _with_numbered_leaves(spec: Any) -> Any:
    return pytree.tree_unflatten(list(range(spec.num_leaves)), spec)


def _paths(spec: Any) -> list[list[str]]:
    """Return the keys, positions and field names that lead to each leaf."""
    leaves, _ = pytree.tree_flatten_with_path(_with_numbered_leaves(spec))
    return [[_key(entry) for entry in path] for path, _ in leaves]


def _key(entry: Any) -> str:
    match entry:
        case pytree.SequenceKey(idx=position):
            return str(position)
        case pytree.MappingKey(key=key):
            return str(key)
        case pytree.GetAttrKey(name=name):
            return str(name)
    return str(entry)
