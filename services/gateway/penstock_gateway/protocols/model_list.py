"""``GET /v1/models``: the models that the caller may ask, in the shape of OpenAI's list, and what their aliases point at."""

from __future__ import annotations

import msgspec

from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.dataplane import check_allowed
from penstock_gateway.edge.call import Call, Reply


class ModelList:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def all(self, call: Call) -> Reply:
        """``GET /v1/models``."""
        models = self._catalog.models(call.principal.models)
        return Reply(msgspec.json.encode({"object": "list", "data": models}))

    async def one(self, call: Call) -> Reply:
        """``GET /v1/models/{model}``."""
        name = call.path["model"]
        check_allowed(call.principal, name)
        return Reply(msgspec.json.encode(self._catalog.listing(name, call.principal.models)))
