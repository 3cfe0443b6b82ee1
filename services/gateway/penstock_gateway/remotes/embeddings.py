"""A remote that makes vectors of texts, as a model of this catalogue."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.remotes import Remote
from penstock_common.tensors import from_raw, to_raw
from penstock_gateway.remotes.errors import bad_remote_answer
from penstock_gateway.remotes.remote_servable import RemoteServable
from penstock_gateway.remotes.server import TOKENS
from penstock_gateway.remotes.text_chunks import TokenNumber
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

_TEXT, _VECTOR, _TOKENS = "text", "embedding", "tokens"


class _Vector(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Usage(msgspec.Struct):
    prompt_tokens: TokenNumber = 0


class _Answer(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def embeddings_manifest(remote: Remote) -> Manifest:
    """The signature of a remote: a text in, its vector and its tokens out."""
    assert remote.width is not None  # the list of remotes is checked
    return Manifest(
        Format.TRANSFORMERS,
        "remote",
        Task.TENSOR,
        [Field(_TEXT, FieldKind.TEXT, "BYTES")],
        [Output(_VECTOR, "FP32", [remote.width]), Output(_TOKENS, "INT32")],
        description=remote.description,
    )


class RemoteEmbeddings(RemoteServable):
    """A servable whose vectors a remote makes; the rows of a request are one request there."""

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        return asyncio.ensure_future(self._vectors(rows, deadline))

    async def stream(self, rows: Rows, deadline: float) -> AsyncGenerator[RawOutputs, None]:
        yield await self._vectors(rows, deadline)

    async def _vectors(self, rows: Rows, deadline: float) -> RawOutputs:
        texts = from_raw(rows.inputs[0], "BYTES", [rows.count]).tolist()
        body: dict[str, Any] = {
            "model": self._server.remote.model,
            "input": [bytes(text).decode(errors="replace") for text in texts],
            "encoding_format": "base64",  # a fourth of the floats' bytes; a server that does not know it sends floats
        }
        rows.served_by = f"remote:{self._server.name}"
        answer = await self._server.document("/embeddings", msgspec.json.encode(body), deadline)
        try:
            parsed = _ANSWER.decode(answer)
            vectors = self._matrix(parsed.data, rows.count)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            what = f"what are not {rows.count} vectors of {self._server.remote.width} numbers"
            raise bad_remote_answer(self._server.name, what) from None
        tokens = parsed.usage.prompt_tokens if parsed.usage else 0
        self._spend(tokens)
        TOKENS.labels(self._server.name, "prompt").inc(tokens)
        counts = np.full(rows.count, tokens // rows.count, np.int32)
        counts[0] += tokens % rows.count
        given = {"FP32": to_raw(vectors, "FP32"), "INT32": counts.tobytes()}
        return RawOutputs([given[output.datatype] for output in self.signature.manifest.outputs])

    def _matrix(self, data: list[_Vector], count: int) -> NDArray[np.float32]:
        """The vectors ``[count, width]`` in the order of the texts; raises ValueError if they are not that."""
        matrix = np.empty([count, self._server.remote.width or 0], np.float32)
        if sorted(vector.index for vector in data) != list(range(count)):
            raise ValueError
        for vector in data:
            matrix[vector.index] = _numbers(vector.embedding, matrix.shape[1])
        return matrix


def _numbers(embedding: str | list[float], width: int) -> NDArray[np.float32]:
    if isinstance(embedding, str):
        numbers = np.frombuffer(base64.b64decode(embedding, validate=True), "<f4")
    else:
        with np.errstate(over="ignore"):  # infinity is refused where the answer is written
            numbers = np.array(embedding, np.float32)
    if numbers.shape != (width,):
        raise ValueError(f"{numbers.shape} is not ({width},)")
    return numbers


def stands_in_for_embeddings(signature: Signature, remote: Remote) -> bool:
    """Whether a remote can answer in the form of a model: a text in, one vector of the same width out, and tokens."""
    manifest = signature.manifest
    inputs = [(field.datatype, field.shape) for field in manifest.client_inputs]
    outputs = [(output.datatype, output.shape) for output in manifest.outputs]
    vector: list[tuple[str, list[Any]]] = [("FP32", [remote.width])]
    return (
        not manifest.stream
        and not manifest.labels
        and inputs == [("BYTES", [])]
        and outputs in (vector, [*vector, ("INT32", [])], [("INT32", []), *vector])
        and all(output.name == _TOKENS for output in manifest.outputs if output.datatype == "INT32")
    )
