"""The Open Inference Protocol v2's REST body, with the binary tensor data extension.

A request is JSON, followed by the raw bytes of those inputs that name a
``binary_data_size``; ``Inference-Header-Content-Length`` is the length of the JSON part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.tensors import NUMPY_DTYPES, from_raw, to_raw
from penstock_gateway.edge.json_body import bad_json

# Bounded, so that a shape cannot make numpy reserve more than the body holds.
_Shape = Annotated[list[Annotated[int, msgspec.Meta(ge=1)]], msgspec.Meta(max_length=16)]


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: _Shape
    parameters: dict[str, Any] = {}
    data: Any = msgspec.UNSET


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "f": {int, float}, "O": {str}}
_DECODER = msgspec.json.Decoder(_Request)


@dataclass(slots=True)
class OipRequest:
    """A decoded request."""

    id: str
    inputs: dict[str, NDArray[Any]]
    outputs: list[tuple[str, bool]]  # the outputs asked for, and whether as binary; empty: all of them
    parameters: dict[str, Any]
    binary_output: bool  # the default of `binary_data`


def decode(body: bytes, inference_header_content_length: int | None) -> OipRequest:
    """Read a request.

    Raises:
        PenstockError: 400 ``bad-json``, ``bad-inference-header`` or ``bad-tensor``.
    """
    end = len(body) if inference_header_content_length is None else inference_header_content_length
    if not 0 <= end <= len(body):
        text = f"Inference-Header-Content-Length is {end}, the body has {len(body)} bytes; send the JSON part's length."
        raise PenstockError(400, "bad-inference-header", text)
    request = _parse(body[:end])
    inputs: dict[str, NDArray[Any]] = {}
    at = end
    for tensor in request.inputs:
        where = f"input {tensor.name!r}"
        if tensor.name in inputs:
            raise _bad(where, "is given twice")
        if tensor.datatype not in NUMPY_DTYPES:
            raise _bad(where, f"unknown datatype {tensor.datatype!r}; known are {', '.join(NUMPY_DTYPES)}")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            inputs[tensor.name] = _from_json(tensor, where)
            continue
        if type(size) is not int or size < 0 or at + size > len(body):
            raise _bad(where, f"binary_data_size {size!r} does not fit the {len(body) - at} bytes left in the body")
        if tensor.data is not msgspec.UNSET:
            raise _bad(where, "has both data and binary_data_size; send one")
        if tensor.datatype == "BYTES" and math.prod(tensor.shape) * 4 > size:
            raise _bad(where, f"{size} bytes are too few for BYTES of shape {tensor.shape}")
        inputs[tensor.name] = from_raw(body[at : at + size], tensor.datatype, tensor.shape, where=where)
        at += size
    if at != len(body):
        raise _bad("the body", f"has {len(body) - at} bytes after its last binary input")
    binary_output = _flag(request.parameters, "binary_data_output", False)
    return OipRequest(
        request.id,
        inputs,
        [(output.name, _flag(output.parameters, "binary_data", binary_output)) for output in request.outputs],
        request.parameters,
        binary_output,
    )


def encode(
    request: OipRequest, model: str, version: str, arrays: Mapping[str, tuple[str, NDArray[Any]]]
) -> tuple[bytes, int | None]:
    """Write the answer from ``arrays``, name -> (datatype, array).

    Returns:
        The body, and the length of its JSON part if binary data follows.

    Raises:
        PenstockError: 400 ``unknown-output`` or ``not-json``.
    """
    wanted = request.outputs or [(name, request.binary_output) for name in arrays]
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, binary in wanted:
        if name not in arrays:
            text = f"The model has no output {name!r}; it has {', '.join(arrays)}."
            raise PenstockError(400, "unknown-output", text)
        datatype, array = arrays[name]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if binary:
            blobs.append(to_raw(array, datatype))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = _to_json(name, datatype, array)
        outputs.append(output)
    answer: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if request.id:
        answer["id"] = request.id
    head = msgspec.json.encode(answer)
    return b"".join([head, *blobs]), len(head) if blobs else None


def _parse(head: bytes) -> _Request:
    try:
        return _DECODER.decode(head)
    except msgspec.ValidationError as err:
        raise PenstockError(400, "bad-tensor", f"The request does not follow the protocol: {err}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise bad_json(head, err) from None


def _from_json(tensor: _Input, where: str) -> NDArray[Any]:
    if tensor.datatype == "FP16":
        raise _bad(where, "FP16 travels only as binary data; send FP32 or use binary_data_size")
    if type(tensor.data) is not list:
        raise _bad(where, "has no list of data")
    flat = _flatten(tensor, where)
    dtype = NUMPY_DTYPES[tensor.datatype]
    types = _JSON_TYPES.get(dtype.kind, {int})
    if not set(map(type, flat)) <= types:
        wrong = next(value for value in flat if type(value) not in types)
        raise _bad(where, f"{str(wrong)[:80]!r} is not a {tensor.datatype}")
    if tensor.datatype == "BYTES":
        array = np.empty(len(flat), dtype=np.object_)
        array[:] = [text.encode() for text in flat]
        return array.reshape(tensor.shape)
    try:
        with np.errstate(over="raise"):
            return np.array(flat, dtype=np.float64 if dtype.kind == "f" else dtype).astype(dtype).reshape(tensor.shape)
    except (OverflowError, FloatingPointError):
        raise _bad(where, f"a value is out of range for {tensor.datatype}") from None


def _flatten(tensor: _Input, where: str) -> list[Any]:
    """Row-major elements; the data is flat, or nested as the shape says."""
    flat: list[Any] = tensor.data
    if any(type(part) is list for part in flat):
        for depth, size in enumerate(tensor.shape):
            parts = [flat] if depth == 0 else flat
            if any(type(part) is not list or len(part) != size for part in parts):
                raise _bad(where, f"the nested data does not have shape {tensor.shape}")
            if depth:
                flat = list(chain.from_iterable(flat))
    if len(flat) != math.prod(tensor.shape):
        raise _bad(where, f"shape {tensor.shape} needs {math.prod(tensor.shape)} elements, got {len(flat)}")
    return flat


def _to_json(name: str, datatype: str, array: NDArray[Any]) -> list[Any]:
    flat: list[Any]
    if datatype == "BYTES":
        try:
            return [element.decode() for element in array.ravel()]
        except UnicodeDecodeError:
            raise _not_json(name, "holds bytes that are not UTF-8 text") from None
    if datatype == "FP16":
        raise _not_json(name, "is FP16, which has no JSON form")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _not_json(name, "holds a value that is not a finite number")
    flat = array.ravel().tolist()
    return flat


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if type(value) is not bool:
        raise _bad(f"parameter {name!r}", f"must be true or false, got {str(value)[:80]!r}")
    return value


def _not_json(name: str, what: str) -> PenstockError:
    text = f"Output {name!r} {what}; ask for it with the parameter binary_data set to true."
    return PenstockError(400, "not-json", text)


def _bad(where: str, what: str) -> PenstockError:
    return PenstockError(400, "bad-tensor", f"{where}: {what}.")
