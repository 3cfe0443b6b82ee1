"""``GET /v1/models``: the models, and what their aliases point at."""

from __future__ import annotations

import msgspec

from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.edge.call import Call, Reply


class ModelList:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def __call__(self, _: Call) -> Reply:
        return Reply(msgspec.json.encode({"models": self._catalog.models()}))
