"""The registry's composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from penstock_common.telemetry import tracing_enabled
from penstock_registry.middleware import OPEN_PATHS, add_middleware
from penstock_registry.object_store import open_store
from penstock_registry.problem_documents import add_exception_handlers
from penstock_registry.registry import Registry
from penstock_registry.routes import api
from penstock_registry.settings import RegistrySettings


def build_app(settings: RegistrySettings) -> FastAPI:
    registry = Registry(open_store(settings.store_url))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(registry.watch.follow_store())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    # FastAPI makes a span for each request; metrics and logs are our own.
    telemetry: TelemetryConfig = {
        "tracing": tracing_enabled(),
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "exclude": lambda scope: scope["path"] in OPEN_PATHS,
    }
    # The handlers parse their bodies themselves, so FastAPI could not describe them; docs/architecture.md lists the calls.
    app = FastAPI(title="Penstock registry", lifespan=lifespan, openapi_url=None, telemetry=telemetry)
    add_middleware(app, "" if settings.allow_anonymous else settings.token)
    add_exception_handlers(app)
    app.include_router(api(registry))
    return app
