"""Files that take and give tensors: their inputs as they say, their outputs as a run with zeros gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import NUMPY_DTYPES, kind_of, widened
from penstock_inference.runners.formats import import_format
from penstock_inference.runners.runner import FileTensor, ModelMismatchError, Runner

#: Rows of the run, if the file takes any number of them.
_ROWS = 2
_DATATYPES = {dtype: name for name, dtype in NUMPY_DTYPES.items()}


def read(path: Path, format_: Format, given: list[FoundInput]) -> FileSignature:
    """Return the signature of a torch.export program, compiled or not, a TorchScript module, an ONNX model or code."""
    if format_ is Format.PYTHON and not given:
        return FileSignature([])  # code says nothing of its inputs
    runner = import_format(format_)(path, _placeholder(format_, path, given), 1)
    inputs = [_found(tensor) for tensor in runner.inputs if tensor.required]
    inputs = [_completed(found, given, i, len(inputs)) for i, found in enumerate(inputs)]
    signature = FileSignature(inputs, rows=_rows(runner))
    if format_ is Format.ONNX:
        from penstock_inference.signatures.onnx_details import details

        signature.description, signature.labels = details(path)
    if all(_is_complete(found) for found in inputs):
        _run(runner, signature)
    return signature


def _placeholder(format_: Format, path: Path, given: list[FoundInput]) -> Manifest:
    """Return the manifest with which the file is loaded; only Python code takes its inputs from there."""
    fields = [
        Field(found.name or f"input_{i}", FieldKind.TENSOR, found.datatype or "FP32", shape=[*(found.shape or [])])
        for i, found in enumerate(given)
    ]
    return Manifest(
        format_,
        path.name,
        Task.TENSOR,
        fields or [Field("input_0", FieldKind.TENSOR, "FP32")],
        [Output("output_0", "FP32")],
    )


def _found(tensor: FileTensor) -> FoundInput:
    if tensor.datatype is not None and tensor.datatype not in NUMPY_DTYPES:
        raise ModelMismatchError(
            f"The file's input {tensor.name!r} is of {tensor.datatype}, which the Open Inference Protocol does not have; "
            "convert it inside the model."
        )
    return FoundInput(tensor.name, tensor.datatype, None if tensor.shape is None else list(tensor.shape[1:]))


def _completed(found: FoundInput, given: list[FoundInput], position: int, count: int) -> FoundInput:
    """Add what was given for an input: by its name, or by its position if all are given."""
    named = next((own for own in given if own.name == found.name), None)
    own = named or (given[position] if found.name is None and len(given) == count else None)
    if own is None:
        return found
    return FoundInput(found.name, own.datatype or found.datatype, own.shape if own.shape is not None else found.shape)


def _is_complete(found: FoundInput) -> bool:
    return found.datatype is not None and found.shape is not None and -1 not in found.shape


def _rows(runner: Runner) -> int:
    sizes = {tensor.shape[0] for tensor in runner.inputs if tensor.shape}
    fixed = sizes - {-1}
    return max(fixed) if fixed else -1


def _run(runner: Runner, signature: FileSignature) -> None:
    """Fill in the outputs that a run with zeros gives. A file that runs with one row only says so by failing with two."""
    for rows in (_ROWS, 1) if signature.rows == -1 else (signature.rows,):
        zeros = iter([_zeros(found, rows) for found in signature.inputs])
        try:
            answer = runner.run([next(zeros) if tensor.required else None for tensor in runner.inputs])
        except Exception as err:  # the file may not like zeros; its outputs can be given
            last = (str(err).strip().splitlines() or [""])[-1]  # a traceback of TorchScript ends with the cause
            signature.no_run = f"{type(err).__name__}: {last}"[:500]
            continue
        named = answer.items() if isinstance(answer, dict) else [(None, array) for array in answer]
        signature.outputs = [_output(name, np.asarray(array)) for name, array in named]
        signature.no_run = ""
        signature.rows = 1 if rows == 1 else signature.rows
        return


def _zeros(found: FoundInput, rows: int) -> NDArray[Any]:
    dtype = NUMPY_DTYPES[found.datatype or ""]
    return np.full((rows, *(found.shape or [])), b"" if dtype.hasobject else 0, dtype)


def _output(name: str | None, array: NDArray[Any]) -> FoundOutput:
    if array.dtype not in _DATATYPES:
        raise ModelMismatchError(
            f"The file's output {name or ''!r} is of {array.dtype}, which the Open Inference Protocol does not have; "
            "convert it inside the model."
        )
    return FoundOutput(name, _DATATYPES[array.dtype], list(array.shape[1:]), _are_probabilities(array))


def _are_probabilities(array: NDArray[Any]) -> bool:
    """Whether each row of ``[N, C]``, with two columns at least, is between 0 and 1 with the sum 1."""
    if kind_of(array.dtype) != "f" or array.ndim != 2 or array.shape[1] < 2:
        return False
    array = widened(array)
    within = bool((array >= 0).all() and (array <= 1).all())
    return within and np.allclose(array.sum(axis=1, dtype=np.float64), 1, atol=1e-2)
