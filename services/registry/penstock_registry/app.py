"""The registry's composition root."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from penstock_common.object_store.store_url import open_store
from penstock_common.telemetry import tracing_enabled
from penstock_registry.authentication import Authenticator, TokenFiles
from penstock_registry.blob_collector import BlobCollector
from penstock_registry.blobs import Blobs
from penstock_registry.middleware import OPEN_PATHS, add_middleware
from penstock_registry.model_logs import ModelLogs
from penstock_registry.problem_documents import add_exception_handlers
from penstock_registry.registry import Registry
from penstock_registry.routes import api
from penstock_registry.settings import RegistrySettings
from penstock_registry.watch import Watch


def build_app(settings: RegistrySettings) -> FastAPI:
    store = open_store(settings.store_url)
    blobs = Blobs(
        store,
        max_bytes=settings.max_blob_bytes,
        min_free_bytes=settings.min_free_bytes,
        grace=settings.upload_grace_seconds,
    )
    logs = ModelLogs(store, max_entry_bytes=settings.max_entry_bytes)
    registry = Registry(logs, blobs, max_manifest_bytes=settings.max_manifest_bytes)
    watch = Watch(logs, settings.poll_seconds, settings.idle_poll_seconds)
    collector = BlobCollector(store, logs, settings.upload_grace_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = [asyncio.create_task(watch.follow_store()), asyncio.create_task(collector.run())]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

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
    add_middleware(app, _authenticator(settings))
    add_exception_handlers(app)
    app.include_router(api(registry, watch, max_json_bytes=settings.max_json_bytes))
    return app


def _authenticator(settings: RegistrySettings) -> Authenticator | None:
    if settings.allow_anonymous:
        return None
    assert settings.tokens_dir is not None  # RegistrySettings refuses to have neither
    return Authenticator(TokenFiles(settings.tokens_dir), max_bad_tokens=settings.max_bad_tokens)
