"""``POST /v1/embeddings``: texts in, a vector each out."""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from penstock_common.manifest import FieldKind, Manifest
from penstock_gateway.dataplane.dataplane import Answer, DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.request import Int64, ModelName, decode_request
from penstock_gateway.signature.answer_size import check_answer_size
from penstock_gateway.signature.answer_tensors import answer_array, check_finite
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

#: The output with which a model says how many tokens a text had.
_TOKENS = "tokens"
#: Characters of a number in the answer at most; those of JSON as in ``answer_size``.
_WIDTHS = {"float": 24, "base64": 6}
_FLOATS = ("BF16", "FP16", "FP32", "FP64")


class EmbeddingsRequest(msgspec.Struct):
    model: ModelName
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Int64 | None = None


class Embeddings:
    """The handler of the route.

    Args:
        max_answer_bytes: the largest answer that is built.
    """

    def __init__(self, dataplane: DataPlane, max_answer_bytes: int) -> None:
        self._dataplane = dataplane
        self._max_answer_bytes = max_answer_bytes
        self._decoder = msgspec.json.Decoder(EmbeddingsRequest)

    async def __call__(self, call: Call) -> Reply:
        request = decode_request(self._decoder, call.body)
        texts = _texts(request.input)

        def rows(_: Call, signature: Signature) -> Rows:
            field = _text_field(signature)
            signature.decoder.check_row_count(len(texts))  # before each becomes an object
            width = vector_width(signature)
            _check_dimensions(request.dimensions, width)
            numbers = len(texts) * (request.dimensions or width)
            check_answer_size(numbers * _WIDTHS[request.encoding_format], self._max_answer_bytes)
            return signature.decoder.decode_json(orjson.dumps([{field: text} for text in texts]))

        answer = await self._dataplane.infer(call, request.model, "", rows)
        vectors = _vectors(answer, request.dimensions)
        body: dict[str, Any] = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": _encoded(vector, request.encoding_format)}
                for i, vector in enumerate(vectors)
            ],
            "model": request.model,
        }
        if (tokens := _token_count(answer)) is not None:
            body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return answer.reply(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


def _texts(given: str | list[str]) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise bad_request("input: the list is empty; send at least one text.", "input")
    return texts


def _check_dimensions(dimensions: int | None, width: int) -> None:
    if dimensions is not None and not 1 <= dimensions <= width:
        raise bad_request(f"dimensions: {dimensions} is not one of 1 to {width}, the model's own.", "dimensions")


def vector_width(signature: Signature) -> int:
    """How many numbers the model makes of a text, its only required input; 0 if it does something else."""
    manifest = signature.manifest
    required = [field for field in manifest.client_inputs if field.required]
    index = _vector_index(manifest)
    if len(required) != 1 or required[0].kind is not FieldKind.TEXT or index is None or manifest.labels:
        return 0
    width = manifest.outputs[index].shape[0]
    return width if isinstance(width, int) and width > 0 else 0


def _text_field(signature: Signature) -> str:
    """The name of the model's only required input, a text."""
    if not vector_width(signature):
        raise bad_request(
            f"model: '{signature.model}' does not make a vector of a text; GET /v1/models lists the models.", "model"
        )
    return next(field.name for field in signature.manifest.client_inputs if field.required)


def _vector_index(manifest: Manifest) -> int | None:
    """Which output is a vector of each text."""
    return next((i for i, o in enumerate(manifest.outputs) if o.datatype in _FLOATS and len(o.shape) == 1), None)


def _vectors(answer: Answer, dimensions: int | None) -> NDArray[np.float32]:
    """The vectors ``[texts, dimensions]``; those that were shortened have length 1 again."""
    manifest = answer.servable.signature.manifest
    index = _vector_index(manifest)
    assert index is not None  # ``_text_field`` has looked
    output = manifest.outputs[index]
    array = answer_array(answer.outputs, index, output, answer.rows.count, answer.servable.model)
    with np.errstate(over="ignore"):  # what overflows becomes infinity, which is refused
        vectors: NDArray[np.float32] = np.ascontiguousarray(array, np.float32)
    check_finite(vectors, output.name, answer.servable.model)
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    short = vectors[:, :dimensions]
    lengths = np.linalg.norm(short, axis=1, keepdims=True)
    return np.ascontiguousarray(short / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def _encoded(vector: NDArray[np.float32], encoding: str) -> NDArray[np.float32] | str:
    return base64.b64encode(vector.astype("<f4", copy=False).tobytes()).decode() if encoding == "base64" else vector


def _token_count(answer: Answer) -> int | None:
    """The tokens of all texts, if the model has an output that counts them."""
    manifest = answer.servable.signature.manifest
    for i, output in enumerate(manifest.outputs):
        if output.name == _TOKENS and output.datatype in ("INT32", "INT64") and not output.shape:
            return int(answer_array(answer.outputs, i, output, answer.rows.count, answer.servable.model).sum())
    return None
