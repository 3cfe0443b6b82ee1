"""The gateway's route table, on one screen."""

from __future__ import annotations

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.edge.endpoint import Call, Edge, Guard, Handler, Reply
from penstock_gateway.edge.health import Health
from penstock_gateway.protocols.oip import OpenInference
from penstock_gateway.protocols.predict import Predict

# Answered to anyone, and left out of the traces.
PROBES = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})


def routes(
    guard: Guard, health: Health, catalog: Catalog, predict: Predict, v2: OpenInference, *, with_metrics: bool
) -> list[BaseRoute]:
    def edge(path: str, name: str, handler: Handler, method: str = "POST") -> Route:
        return Route(path, Edge(name, guard, handler), methods=[method])

    async def models(_: Call) -> Reply:
        return Reply(orjson.dumps({"models": catalog.models()}))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        ready, parts = health.report()
        return JSONResponse({"ready": ready, "components": parts}, status_code=200 if ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [
        edge("/v1/models/{model}/predict", "predict", predict),
        edge("/v1/models/{model}/versions/{version}/predict", "predict", predict),
        edge("/predict", "predict", predict),
        edge("/v2/models/{model}/infer", "infer", v2.infer),
        edge("/v2/models/{model}/versions/{version}/infer", "infer", v2.infer),
        edge("/v1/models", "models", models, "GET"),
        edge("/v2", "v2", v2.server, "GET"),
        edge("/v2/models/{model}", "v2", v2.metadata, "GET"),
        edge("/v2/models/{model}/versions/{version}", "v2", v2.metadata, "GET"),
        edge("/v2/models/{model}/ready", "v2", v2.ready, "GET"),
        edge("/v2/models/{model}/versions/{version}/ready", "v2", v2.ready, "GET"),
        edge("/v2/repository/index", "v2", v2.index),
        Route("/v2/health/live", healthz),
        Route("/v2/health/ready", readyz),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        *([Route("/metrics", metrics)] if with_metrics else []),
    ]
