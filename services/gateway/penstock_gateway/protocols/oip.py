"""The Open Inference Protocol v2 over REST, binary tensors included."""

from __future__ import annotations

import orjson

from penstock_common.errors import PenstockError
from penstock_common.tensors import from_raw
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.endpoint import Call, Reply
from penstock_gateway.protocols import oip_json
from penstock_gateway.protocols.predict import infer

_LENGTH_HEADER = b"inference-header-content-length"


class OpenInference:
    """The handlers of ``/v2``."""

    def __init__(self, catalog: Catalog, disconnects: DisconnectWatch) -> None:
        self._catalog = catalog
        self._disconnects = disconnects

    async def infer(self, call: Call) -> Reply:
        """``POST /v2/models/{model}[/versions/{version}]/infer``."""
        route = self._catalog.resolve(call.path["model"], call.path.get("version", ""))
        request = oip_json.decode(call.body, _header_length(call))
        inputs, rows = route.decoder.check_arrays(request.inputs)
        outputs = await infer(route, inputs, rows, call, self._disconnects)
        arrays = {
            spec.name: (spec.datatype, from_raw(raw, spec.datatype, [rows, *spec.shape]))
            for spec, raw in zip(route.manifest.outputs, outputs, strict=True)
        }
        body, json_length = oip_json.encode(request, route.model, route.version, arrays)
        headers = [(b"x-model-version", route.version.encode())]
        if json_length is None:
            return Reply(body, headers=headers)
        return Reply(body, b"application/octet-stream", headers=[*headers, (_LENGTH_HEADER, str(json_length).encode())])

    async def metadata(self, call: Call) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]``."""
        route = self._catalog.resolve(call.path["model"], call.path.get("version", ""))
        manifest = route.manifest
        return _json(
            {
                "name": route.model,
                "versions": [route.version],
                "platform": f"penstock_{manifest.format.replace('-', '_')}",
                "inputs": [{"name": f.name, "datatype": f.datatype, "shape": [-1, *f.shape]} for f in manifest.inputs],
                "outputs": [
                    {"name": o.name, "datatype": o.datatype, "shape": [-1, *o.shape]} for o in manifest.outputs
                ],
            }
        )

    async def ready(self, call: Call) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]/ready``: 200, or the problem that says why not."""
        route = self._catalog.resolve(call.path["model"], call.path.get("version", ""))
        return _json({"name": route.model, "ready": True})

    async def server(self, _: Call) -> Reply:
        """``GET /v2``."""
        return _json({"name": "penstock", "version": "0.1.0", "extensions": ["binary_tensor_data", "model_repository"]})

    async def index(self, _: Call) -> Reply:
        """``POST /v2/repository/index``: the versions that get traffic."""
        return _json(
            [
                {"name": model["name"], "version": target["version"], "state": "READY", "reason": ""}
                for model in self._catalog.models()
                for target in _served(model)
            ]
        )


def _served(model: dict[str, object]) -> list[dict[str, str]]:
    aliases = model["aliases"]
    assert isinstance(aliases, dict)
    versions = sorted({target["version"] for targets in aliases.values() for target in targets}, key=int)
    return [{"version": version} for version in versions]


def _header_length(call: Call) -> int | None:
    given = call.headers.get(_LENGTH_HEADER)
    if given is None:
        return None
    if not given.isdigit() or int(given) > len(call.body):
        raise PenstockError(
            400,
            "bad-inference-header",
            f"Inference-Header-Content-Length: {given[:20]!r} is not a length within the body ({len(call.body)} bytes).",
        )
    return int(given)


def _json(value: object) -> Reply:
    return Reply(orjson.dumps(value))
