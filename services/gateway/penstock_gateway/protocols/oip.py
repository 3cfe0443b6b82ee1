"""``/v2``: the Open Inference Protocol over REST, binary tensors included."""

from __future__ import annotations

import orjson

from penstock_common.model_metadata import model_metadata
from penstock_common.tensors import from_raw
from penstock_common.version import VERSION
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.dataplane import Answer, DataPlane
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.edge.integer_header import integer_header
from penstock_gateway.protocols import oip_json
from penstock_gateway.protocols.oip_json import OipRequest
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

_LENGTH_HEADER = b"inference-header-content-length"


class OpenInference:
    """The handlers of ``/v2``."""

    def __init__(self, dataplane: DataPlane, catalog: Catalog) -> None:
        self._dataplane = dataplane
        self._catalog = catalog

    async def infer(self, call: Call) -> Reply:
        """``POST /v2/models/{model}[/versions/{version}]/infer``."""
        request: OipRequest | None = None

        def rows(call: Call, signature: Signature) -> Rows:
            nonlocal request
            request = oip_json.decode(call.body, _json_length(call))
            return signature.decoder.decode_arrays(request.inputs)

        answer = await self._dataplane.infer(call, call.path["model"], call.path.get("version", ""), rows)
        assert request is not None
        return _reply(request, answer)

    async def metadata(self, call: Call) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]``."""
        servable = self._resolve(call)
        return _json(model_metadata(servable.model, servable.version, servable.signature.manifest))

    async def ready(self, call: Call) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]/ready``: 200, or the problem that says why not."""
        return _json({"name": self._resolve(call).model, "ready": True})

    async def server(self, _: Call) -> Reply:
        """``GET /v2``."""
        return _json({"name": "penstock", "version": VERSION, "extensions": ["binary_tensor_data", "model_repository"]})

    async def index(self, _: Call) -> Reply:
        """``POST /v2/repository/index``: the versions that get traffic."""
        rows = []
        for model in self._catalog.models():
            served = {share.version for shares in model.aliases.values() for share in shares}
            rows += [
                {"name": model.name, "version": v, "state": "READY", "reason": ""} for v in sorted(served, key=int)
            ]
        return _json(rows)

    def _resolve(self, call: Call) -> Servable:
        return self._dataplane.resolve(call.principal, call.path["model"], call.path.get("version", ""))


def _reply(request: OipRequest, answer: Answer) -> Reply:
    servable = answer.servable
    arrays = {
        spec.name: (spec.datatype, from_raw(raw, spec.datatype, [answer.rows.count, *spec.shape]))
        for spec, raw in zip(servable.signature.manifest.outputs, answer.outputs, strict=True)
    }
    body, json_length = oip_json.encode(request, servable.model, servable.version, arrays)
    if json_length is None:
        return answer.reply(body)
    return answer.reply(body, b"application/octet-stream", ((_LENGTH_HEADER, b"%d" % json_length),))


def _json_length(call: Call) -> int | None:
    return integer_header(call.headers, _LENGTH_HEADER, len(call.body), "bad-inference-header")


def _json(value: object) -> Reply:
    return Reply(orjson.dumps(value))
