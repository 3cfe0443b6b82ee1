"""The gateway's composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline
from prometheus_client import REGISTRY
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware

from penstock_common.garbage import spare_what_stays
from penstock_common.manifest import Manifest
from penstock_common.registry_client import RegistryClient, follow
from penstock_common.telemetry import tracing_enabled
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import open_keys
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.queue_metrics import Queues
from penstock_gateway.dataplane.upstream import Rows, Upstream, row_could_be_to_blame
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.endpoint import Guard, no_route
from penstock_gateway.edge.health import Health
from penstock_gateway.limits.local import Limiter
from penstock_gateway.limits.peers import follow_peers
from penstock_gateway.protocols.oip import OpenInference
from penstock_gateway.protocols.openapi import document
from penstock_gateway.protocols.predict import Predict
from penstock_gateway.routes import PROBES, routes
from penstock_gateway.settings import GatewaySettings


def build_app(settings: GatewaySettings, health: Health) -> FastAPI:
    """The application, not yet connected to anything; its lifespan connects it."""
    keys = KeyRing(open_keys(settings.keys_url))
    disconnects = DisconnectWatch()
    limiter = Limiter(settings.rate, settings.burst)
    guard = Guard(
        keys=keys,
        limiter=limiter,
        health=health,
        disconnects=disconnects,
        timeout_seconds=settings.timeout_seconds,
        max_body_bytes=settings.max_body_bytes,
        log_all=settings.access_log == "all",
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        upstream = Upstream(settings.upstream, settings.pools)

        def make_coalescer(model: str, version: int, manifest: Manifest) -> Coalescer[Rows, list[bytes]]:
            most = min(settings.max_bundle_rows, manifest.batching.max_batch_size)
            return Coalescer(
                upstream.sender(model, version, manifest),
                blames_item=row_could_be_to_blame,
                max_outstanding=settings.max_outstanding if settings.coalesce else settings.max_queue_rows,
                max_weight=most if settings.coalesce else 1,
                max_queued=settings.max_queue_rows,
            )

        catalog = Catalog(upstream, make_coalescer)
        health.components = {
            "keys": lambda: keys.loaded,
            "registry snapshot": lambda: catalog.synced,
            "models": lambda: catalog.settled,
            "envoy": upstream.connected,
        }
        await asyncio.to_thread(keys.load)
        async with RegistryClient(settings.registry_url, settings.registry_token) as registry:
            background = [
                asyncio.create_task(keys.refresh_periodically()),
                asyncio.create_task(disconnects.run()),
                asyncio.create_task(follow(registry, catalog.update)),
            ]
            if settings.peers:
                background.append(asyncio.create_task(follow_peers(settings.peers, limiter)))
            # Before FastAPI's own: routes are tried in turn.
            app.router.routes[:0] = routes(
                guard,
                health,
                catalog,
                Predict(catalog, disconnects, settings.default_model),
                OpenInference(catalog, disconnects),
                with_metrics=not settings.metrics_port,
            )
            app.openapi = lambda: document(catalog, settings.default_model)  # type: ignore[method-assign]
            queues = Queues(catalog)
            REGISTRY.register(queues)
            spare_what_stays()
            try:
                yield
            finally:
                REGISTRY.unregister(queues)
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                await catalog.close()
                await upstream.close()

    # FastAPI makes each request's span itself; metrics and logs are the edge's.
    telemetry: TelemetryConfig = {
        "tracing": tracing_enabled(),
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "exclude": lambda scope: scope["path"] in PROBES,
    }
    app = FastAPIOffline(
        title="Penstock",
        lifespan=lifespan,
        redoc_url=None,
        static_url="/docs/assets",
        telemetry=telemetry,
        redirect_slashes=False,
    )
    # The edges answer for their errors, bodies and metrics themselves, and FastAPI's middlewares for these would add a
    # tenth to the gateway's work. What is left serves the router's own refusals and /docs; spans are made outside of it.
    app.middleware_stack = ExceptionMiddleware(AsyncExitStackMiddleware(app.router), handlers={HTTPException: no_route})
    return app
