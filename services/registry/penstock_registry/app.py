"""The registry's composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from penstock_common.telemetry import tracing_enabled
from penstock_registry.routes import OPEN, add_edges, api
from penstock_registry.service import Registry
from penstock_registry.settings import RegistrySettings
from penstock_registry.store import open_store


def build_app(settings: RegistrySettings) -> FastAPI:
    registry = Registry(open_store(settings.store_url))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(registry.watch.run())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    # FastAPI makes each request's span itself; metrics and logs are ours.
    telemetry: TelemetryConfig = {
        "tracing": tracing_enabled(),
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "exclude": lambda scope: scope["path"] in OPEN,
    }
    # No generated documentation: the bodies are read by hand; docs/architecture.md has the calls.
    app = FastAPI(title="Penstock registry", lifespan=lifespan, openapi_url=None, telemetry=telemetry)
    add_edges(app, "" if settings.allow_anonymous else settings.token)
    app.include_router(api(registry))
    return app
