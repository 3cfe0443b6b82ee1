"""Triton's generate extension: the fields of one row as one JSON object, its outputs as another, or a stream of them.

See docs/protocol/extension_generate.md of triton-inference-server/server. The members of ``parameters`` are inputs too.
"""

from __future__ import annotations

import msgspec
import orjson

from penstock_common.errors import PenstockError
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.edge.json_body import bad_json
from penstock_gateway.protocols.chunk_events import chunk_events
from penstock_gateway.signature.answer_size import check_answer_size, json_size
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Generate:
    """The handlers of ``/v2/models/{model}[/versions/{version}]/generate`` and ``generate_stream``.

    Args:
        max_answer_bytes: the largest object that is built.
        keep_alive_seconds: without a chunk, after which a stream gets a comment.
    """

    def __init__(self, dataplane: DataPlane, max_answer_bytes: int, keep_alive_seconds: float) -> None:
        self._dataplane = dataplane
        self._max_answer_bytes = max_answer_bytes
        self._keep_alive_seconds = keep_alive_seconds

    async def generate(self, call: Call) -> Reply:
        """``POST .../generate``: the one object of a model that answers with one."""
        answer = await self._dataplane.infer(call, call.path["model"], call.path.get("version", ""), _row)
        return answer.reply(self._document(answer.servable, answer.outputs))

    async def stream(self, call: Call) -> Reply:
        """``POST .../generate_stream``: an event for each chunk."""
        answer = await self._dataplane.stream(call, call.path["model"], call.path.get("version", ""), _row)

        def document(outputs: RawOutputs) -> bytes:
            return self._document(answer.servable, outputs)

        return await chunk_events(self._dataplane, call, answer, document, self._keep_alive_seconds)

    def _document(self, servable: Servable, outputs: RawOutputs) -> bytes:
        specs = servable.signature.manifest.outputs
        sizes = [json_size(raw, spec.datatype) for raw, spec in zip(outputs.tensors, specs, strict=False)]
        check_answer_size(sum(sizes), self._max_answer_bytes)
        names = {"model_name": servable.model, "model_version": servable.version}
        return orjson.dumps(names | servable.signature.presenter.named(outputs))


def _row(call: Call, signature: Signature) -> Rows:
    """The ``Parse`` of both.

    Raises:
        PenstockError: 400 ``bad-json``; those of ``RowDecoder.decode_json``.
    """
    fields = _members(call.body, "The body is one object with the inputs of one row.")
    fields.pop("id", None)
    if parameters := fields.pop("parameters", None):
        fields |= _members(bytes(parameters), "parameters: it is an object; its members are inputs.")
    members = [orjson.dumps(name) + b":" + bytes(value) for name, value in fields.items()]
    return signature.decoder.decode_json(b"{%b}" % b",".join(members))


def _members(body: bytes, otherwise: str) -> dict[str, msgspec.Raw]:
    """The members of a JSON object, each as it was written."""
    try:
        return _OBJECT.decode(body)
    except msgspec.ValidationError:
        raise PenstockError(422, "invalid-input", otherwise) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise bad_json(body, err) from None
