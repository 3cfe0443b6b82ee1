"""The body of an Open Inference Protocol v2 request over REST, with the binary tensor data extension.

It is JSON, followed by the raw bytes of those inputs that name a ``binary_data_size``;
``Inference-Header-Content-Length`` is the length of the JSON part. The data of inputs
is left as it is until the model's signature has seen their names, datatypes and shapes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.manifest import Output
from penstock_common.tensors import MAX_DIMENSION, MAX_DIMENSIONS, NUMPY_DTYPES
from penstock_gateway.edge.json_body import bad_json
from penstock_gateway.protocols import oip_parameters
from penstock_gateway.protocols.oip_parameters import Parameters, read_parameters
from penstock_gateway.protocols.oip_tensor import OipTensor, bad_tensor
from penstock_gateway.signature.field_check import shown

_NO_DATA = msgspec.Raw()
_LONGEST = 10**12  # microseconds; an integer in JSON may be too large for a float
_Size = Annotated[int, msgspec.Meta(ge=1, le=MAX_DIMENSION)]


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: Annotated[list[_Size], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    parameters: Parameters | None = None
    data: msgspec.Raw = _NO_DATA


class _Output(msgspec.Struct):
    name: str
    parameters: Parameters | None = None


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[_Output] | None = None


_DECODER = msgspec.json.Decoder(_Request)


class RequestedOutput(msgspec.Struct):
    """An output that the answer shall hold; ``classes`` likeliest ones instead of its values, if not 0."""

    name: str
    binary: bool
    classes: int = 0


class OipRequest(msgspec.Struct):
    """A request whose tensors are described, but not decoded."""

    id: str
    tensors: list[OipTensor]
    outputs: list[RequestedOutput]  # empty: all
    binary_output: bool
    non_finite_as_null: bool
    timeout: float  # seconds; 0: what the gateway allows

    def requested(self, outputs: list[Output]) -> list[RequestedOutput]:
        """What to answer, of the outputs that a model has.

        Raises:
            PenstockError: 400 ``unknown-output``; ``unsupported-parameter`` for a classification of text.
        """
        if not self.outputs:
            return [RequestedOutput(output.name, self.binary_output) for output in outputs]
        datatypes = {output.name: output.datatype for output in outputs}
        for wanted in self.outputs:
            if wanted.name not in datatypes:
                text = f"The model has no output {shown(wanted.name)}; it has {', '.join(datatypes)}."
                raise PenstockError(400, "unknown-output", text)
            if wanted.classes and datatypes[wanted.name] == "BYTES":
                text = f"Output {wanted.name!r} is text and has no classes; leave out the parameter 'classification'."
                raise PenstockError(400, "unsupported-parameter", text)
        return self.outputs


def decode(body: bytes, json_length: int | None) -> OipRequest:
    """Read a request.

    Args:
        json_length: bytes of the JSON part, at most the body's; None if all of it is JSON.

    Raises:
        PenstockError: 400 ``bad-json``, ``bad-tensor`` or ``unsupported-parameter``.
    """
    at = len(body) if json_length is None else json_length
    request = _parse(body[:at])
    tensors: dict[str, OipTensor] = {}
    for tensor in request.inputs:
        where = f"input {shown(tensor.name)}"
        if tensor.name in tensors:
            raise bad_tensor(where, "is given twice")
        if tensor.datatype not in NUMPY_DTYPES:
            raise bad_tensor(where, f"unknown datatype {shown(tensor.datatype)}; known are {', '.join(NUMPY_DTYPES)}")
        size = read_parameters(tensor.parameters, oip_parameters.INPUT, where).get("binary_data_size")
        binary = None
        if size is not None:
            binary = _binary(tensor, size, body, at, where)
            at += size
        elif not bytes(tensor.data).startswith(b"["):
            raise bad_tensor(where, "has no list of data")
        tensors[tensor.name] = OipTensor(tensor.name, tensor.datatype, tensor.shape, tensor.data, binary)
    if at != len(body):
        raise bad_tensor("the body", f"has {len(body) - at} bytes after its last binary input")
    parameters = read_parameters(request.parameters, oip_parameters.REQUEST, "the request")
    binary_output = parameters.get("binary_data_output", False)
    return OipRequest(
        request.id or "",
        list(tensors.values()),
        list(_outputs(request.outputs or [], binary_output).values()),
        binary_output,
        parameters.get("non_finite_as_null", False),
        min(parameters.get("timeout", 0), _LONGEST) / 1e6,
    )


def _binary(tensor: _Input, size: int, body: bytes, at: int, where: str) -> bytes:
    if at + size > len(body):
        raise bad_tensor(
            where, f"binary_data_size {shown(size)} does not fit the {len(body) - at} bytes left in the body"
        )
    if bytes(tensor.data):
        raise bad_tensor(where, "has both data and binary_data_size; send one")
    if tensor.datatype == "BYTES" and math.prod(tensor.shape) * 4 > size:
        raise bad_tensor(where, f"{size} bytes are too few for BYTES of shape {tensor.shape}")
    return body[at : at + size]


def _outputs(outputs: list[_Output], binary_output: bool) -> Mapping[str, RequestedOutput]:
    wanted: dict[str, RequestedOutput] = {}
    for output in outputs:
        where = f"output {shown(output.name)}"
        if output.name in wanted:
            raise bad_tensor(where, "is asked for twice")
        parameters = read_parameters(output.parameters, oip_parameters.OUTPUT, where)
        binary = parameters.get("binary_data", binary_output)
        wanted[output.name] = RequestedOutput(output.name, binary, parameters.get("classification", 0))
    return wanted


def _parse(head: bytes) -> _Request:
    try:
        return _DECODER.decode(head)
    except msgspec.ValidationError as err:
        raise PenstockError(400, "bad-tensor", f"The request does not follow the protocol: {str(err)[:200]}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise bad_json(head, err) from None
