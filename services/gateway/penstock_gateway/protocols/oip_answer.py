"""The body of an Open Inference Protocol v2 answer over REST, with the binary tensor data extension."""

from __future__ import annotations

from typing import Any

import orjson
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest, Output, Task
from penstock_common.tensors import NUMPY_DTYPES, to_raw
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols.oip_classification import classify
from penstock_gateway.protocols.oip_request import OipRequest, RequestedOutput
from penstock_gateway.signature.answer_size import check_answer_size, json_size
from penstock_gateway.signature.answer_tensors import answer_array, check_finite

#: What a class counts in the size of an answer. It takes an eighth of that, but as long to write as this much of others.
_CLASS_BYTES = 320


def encode(request: OipRequest, answer: Answer, max_bytes: int) -> tuple[bytes, int | None]:
    """Write an answer.

    Returns:
        The body, and the length of its JSON part if binary data follows.

    Raises:
        PenstockError: 400 ``unknown-output`` or ``not-json``; 413 ``answer-too-large``; 500 ``bad-model-answer``.
    """
    servable = answer.servable
    manifest = servable.signature.manifest
    raws = answer.outputs.tensors
    specs = {spec.name: (i, spec) for i, spec in enumerate(manifest.outputs)}
    wanted = [(output, *specs[output.name]) for output in request.requested(manifest.outputs)]
    sizes = [_size(output, spec, raws[i], answer.rows.count) for output, i, spec in wanted]
    check_answer_size(sum(sizes), max_bytes)
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for output, i, spec in wanted:
        array = answer_array(answer.outputs, i, spec, answer.rows.count, servable.model)
        datatype = spec.datatype
        if output.classes:
            check_finite(array, spec.name, servable.model)
            datatype, array = "BYTES", classify(array, output.classes, _labels(manifest, spec))
        written: dict[str, Any] = {"name": spec.name, "datatype": datatype, "shape": _shape(array, manifest)}
        if output.binary:
            blobs.append(to_raw(array, datatype) if output.classes else raws[i])
            written["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            if not request.non_finite_as_null:
                check_finite(array, spec.name, servable.model)
            written["data"] = _texts(array, output) if datatype == "BYTES" else array.ravel()
        outputs.append(written)
    document: dict[str, Any] = {
        "model_name": servable.model,
        "model_version": servable.version,
        "outputs": outputs,
    }
    if request.id:
        document["id"] = request.id
    # orjson writes an array without making an object of each number, FP32 as the shortest text that reads back as
    # the same FP32, and NaN and infinity as null.
    head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([head, *blobs]), len(head) if blobs else None


def _shape(array: NDArray[Any], manifest: Manifest) -> list[int]:
    return list(array.shape if manifest.batch else array.shape[1:])


def _size(output: RequestedOutput, spec: Output, raw: bytes, rows: int) -> int:
    if output.classes:
        values = len(raw) // NUMPY_DTYPES[spec.datatype].itemsize
        return rows * min(output.classes, values // rows) * _CLASS_BYTES
    return len(raw) if output.binary else json_size(raw, spec.datatype)


def _texts(array: NDArray[Any], output: RequestedOutput) -> list[str]:
    try:
        return [element.decode() for element in array.ravel().tolist()]
    except UnicodeDecodeError:
        text = f"Output {output.name!r} holds bytes that are not UTF-8 text; ask for it with binary_data set to true."
        raise PenstockError(400, "not-json", text) from None


def _labels(manifest: Manifest, spec: Output) -> list[str]:
    """The labels of a classification's first output, its probabilities."""
    return manifest.labels if manifest.task is Task.CLASSIFICATION and spec is manifest.outputs[0] else []
