"""``/v2``: the Open Inference Protocol over REST, with Triton's binary tensors, classification and configuration."""

from __future__ import annotations

import time
from collections.abc import Awaitable

import orjson

from penstock_common.errors import PenstockError
from penstock_common.model_metadata import model_metadata
from penstock_common.version import VERSION
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.model_entry import ModelListing
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.edge.integer_header import integer_header
from penstock_gateway.protocols import oip_answer, oip_request
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.protocols.oip_request import OipRequest
from penstock_gateway.protocols.triton_config import model_config
from penstock_gateway.signature.answer_size import MAX_ANSWER_BYTES
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

_LENGTH_HEADER = b"inference-header-content-length"
_EXTENSIONS = ["binary_tensor_data", "classification", "generate", "model_configuration", "model_repository"]


class OpenInference:
    """The handlers of ``/v2``.

    Args:
        max_answer_bytes: the largest answer that is built.
        large_json: decodes large bodies; without it all are decoded here.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        catalog: Catalog,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        large_json: LargeJson | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._catalog = catalog
        self._max_answer_bytes = max_answer_bytes
        self._large_json = large_json

    async def infer(self, call: Call) -> Reply:
        """``POST /v2/models/{model}[/versions/{version}]/infer``."""
        request: OipRequest | None = None

        def rows(call: Call, signature: Signature) -> Rows | Awaitable[Rows]:
            length = integer_header(call.headers, _LENGTH_HEADER, len(call.body), "bad-inference-header")
            large = self._large_json
            if large is not None and (len(call.body) if length is None else length) > large.min_bytes:
                return rows_of_large(large, signature, length)
            described = oip_request.decode(call.body, length)
            take(described, signature)
            return signature.decoder.decode_tensors(described.tensors)

        async def rows_of_large(large: LargeJson, signature: Signature, length: int | None) -> Rows:
            described, rows = await large.tensors(call, signature, length)
            take(described, signature)
            return rows

        def take(described: OipRequest, signature: Signature) -> None:
            nonlocal request
            request = described
            request.requested(signature.manifest.outputs)  # refuses what the model does not have
            if request.timeout:
                call.deadline = min(call.deadline, time.monotonic() + request.timeout)

        answer = await self._dataplane.infer(call, call.path["model"], call.path.get("version", ""), rows)
        assert request is not None
        body, json_length = oip_answer.encode(request, answer, self._max_answer_bytes)
        if json_length is None:
            return answer.reply(body)
        return answer.reply(body, b"application/octet-stream", ((_LENGTH_HEADER, b"%d" % json_length),))

    async def metadata(self, call: Call) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]``; lists all the versions that a request may name."""
        servable = self._resolve(call)
        metadata = model_metadata(servable.model, servable.version, servable.signature.manifest)
        served = _served(self._catalog.listing(servable.model))
        return _json(metadata | {"versions": served or [servable.version]})

    async def config(self, call: Call) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]/config``."""
        servable = self._resolve(call)
        return _json(model_config(servable.model, servable.signature.manifest))

    async def ready(self, call: Call) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]/ready``: what the pods say now: 200, or why not."""
        servable = self._resolve(call)
        if not await servable.ready():
            raise PenstockError(
                503,
                "model-not-ready",
                f"No pod has answered that version {servable.version} of {servable.model!r} is ready; try again shortly.",
                headers={"Retry-After": "1"},
            )
        return _json({"name": servable.model, "ready": True})

    async def server(self, _: Call) -> Reply:
        """``GET /v2``."""
        return _json({"name": "penstock", "version": VERSION, "extensions": _EXTENSIONS})

    async def index(self, call: Call) -> Reply:
        """``POST /v2/repository/index``: the versions that get traffic, and those that are to get it once loaded.

        Of the models that the caller may ask.
        """
        models = self._catalog.models(call.principal.models)
        entries = [_index_entry(model.id, version, "READY") for model in models for version in _served(model)]
        for model in models:
            for load in model.loading:
                state = "UNAVAILABLE" if load.state == "failed" else "LOADING"
                entries.append(_index_entry(model.id, load.version, state, load.reason))
        return _json(entries)

    def _resolve(self, call: Call) -> Servable:
        return self._dataplane.resolve(call.principal, call.path["model"], call.path.get("version", ""))


def _json(value: object) -> Reply:
    return Reply(orjson.dumps(value))


def _served(model: ModelListing) -> list[str]:
    """The versions of a model that get traffic, in their order."""
    return sorted({share.version for shares in model.aliases.values() for share in shares}, key=int)


def _index_entry(model: str, version: str, state: str, reason: str = "") -> dict[str, str]:
    return {"name": model, "version": version, "state": state, "reason": reason}
