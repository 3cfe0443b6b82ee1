"""The gateway's composition root: reads the settings, chooses the adapters, connects the rooms."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline
from prometheus_client import REGISTRY
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route

from penstock_common.gc_tuning import collect_when_idle, freeze_startup_objects
from penstock_common.pools import pool_of
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_follow import follow
from penstock_common.registry_models import Version
from penstock_common.telemetry import tracing_enabled
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import open_keys
from penstock_gateway.batches.batch_bounds import BatchBounds
from penstock_gateway.batches.line_calls import ByKeyId, LineCalls
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.coalescer import Coalescer
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.healthy_pods import HealthyPods, follow_healthy_pods
from penstock_gateway.dataplane.open_streams import OpenStreams
from penstock_gateway.dataplane.pod_version import PodVersion
from penstock_gateway.dataplane.queue_metrics import QUEUE_SECONDS, QueueMetrics
from penstock_gateway.dataplane.upstream import Upstream
from penstock_gateway.dataplane.upstream_errors import row_could_be_to_blame
from penstock_gateway.decoders.pool import DecoderPool
from penstock_gateway.edge.access_log import AccessLog
from penstock_gateway.edge.body_budget import BodyBudget
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.edge.dispatcher import App, Dispatcher
from penstock_gateway.edge.endpoint import Guard
from penstock_gateway.edge.health import Health
from penstock_gateway.edge.problem import no_such_route
from penstock_gateway.files.file_bounds import FileBounds
from penstock_gateway.limits.local import LocalAdmission
from penstock_gateway.limits.peers import follow_peers
from penstock_gateway.limits.token_bucket import TokenBuckets
from penstock_gateway.pages.docs_page import DocsPage
from penstock_gateway.pages.try_page import TryPage
from penstock_gateway.protocols.large_json import PROCESS, LargeJson
from penstock_gateway.protocols.model_list import ModelList
from penstock_gateway.protocols.oip import OpenInference
from penstock_gateway.protocols.openai.batches import BatchRoutes
from penstock_gateway.protocols.openai.chat import ChatCompletions
from penstock_gateway.protocols.openai.completions import Completions
from penstock_gateway.protocols.openai.embeddings import Embeddings
from penstock_gateway.protocols.openai.errors import router_members
from penstock_gateway.protocols.openai.files import FileRoutes, NoFiles
from penstock_gateway.protocols.openai.moderations import Moderations
from penstock_gateway.protocols.openai.responses.create import CreateResponse
from penstock_gateway.protocols.openai.responses.stored import StoredResponses
from penstock_gateway.protocols.openai.speech import Speech
from penstock_gateway.protocols.openai.transcriptions import Transcriptions, Translations
from penstock_gateway.protocols.openapi import OpenApi, document
from penstock_gateway.protocols.predict import Predict
from penstock_gateway.protocols.predict_stream import PredictStream
from penstock_gateway.protocols.tasks.table import task_handlers
from penstock_gateway.protocols.triton_generate import Generate
from penstock_gateway.remotes.catalog import CatalogWithRemotes
from penstock_gateway.remotes.remote_files import RemoteFiles
from penstock_gateway.remotes.remote_models import RemoteModels
from penstock_gateway.routes import UNTRACED, batch_endpoints, predictions, routes
from penstock_gateway.settings import GatewaySettings
from penstock_gateway.signature.request_bounds import RequestBounds
from penstock_gateway.stored_responses.response_store import Retention, open_store

if TYPE_CHECKING:
    from penstock_gateway.batches.batch_service import BatchService

T = TypeVar("T")

#: Calls under way, for each that would be otherwise, of a model whose requests differ in shape and are padded.
_CALLS_OF_PADDED = 8
_DOCS_ASSETS = "/docs/assets"


def build_app(settings: GatewaySettings, health: Health) -> App:
    """The application, not yet connected to anything; its lifespan connects it."""
    keys = KeyRing(open_keys(settings.keys_url), settings.keys_stale_seconds)
    store = open_store(
        settings.keys_url,
        Retention(
            settings.stored_responses_days, settings.max_stored_response_bytes, settings.max_stored_bytes_per_key
        ),
    )
    disconnects = DisconnectWatch()
    buckets = TokenBuckets(settings.rate, settings.burst)
    admission = LocalAdmission(buckets, settings.bytes_per_row)
    pods = HealthyPods(settings.min_outstanding, gateways=lambda: buckets.gateways)
    guard = Guard(
        authenticator=keys,
        admission=admission,
        health=health,
        disconnects=disconnects,
        bodies=BodyBudget(settings.max_bodies_bytes, settings.max_bodies_bytes_per_key, settings.max_waiting_bodies),
        timeout_seconds=settings.timeout_seconds,
        body_seconds=settings.body_seconds,
        max_body_bytes=settings.max_body_bytes,
        access_log=AccessLog(log_all=settings.access_log == "all", refusals=settings.access_log_refusals),
        max_decoded_ratio=settings.max_decoded_ratio,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        upstream = Upstream(settings.upstream, settings.pools)
        files = RemoteFiles(settings.remotes_file) if settings.remotes_file else None
        bounds = _of_settings(RequestBounds, settings)
        remotes = RemoteModels(files, settings.max_answer_bytes, lambda: buckets.gateways, bounds)
        catalog = CatalogWithRemotes(
            upstream,
            lambda version: _in_pods(version, upstream, pods, bounds, settings),
            lambda model: pods.probes(_pool(model, settings)),
            remotes,
        )
        open_streams = OpenStreams(settings.max_streams, settings.max_streams_per_key)
        dataplane = DataPlane(catalog, disconnects, open_streams)
        health.components = {
            "keys": lambda: keys.loaded,
            "registry snapshot": lambda: catalog.synced,
            "models": lambda: catalog.settled,
            "envoy": upstream.connected,
        }
        health.dependencies = {"pods": lambda: _pods_answer(catalog, pods, settings)}
        await asyncio.to_thread(keys.load)
        await remotes.refresh()
        async with RegistryClient(settings.registry_url, settings.registry_token_file) as registry:
            background = [
                asyncio.create_task(collect_when_idle()),
                asyncio.create_task(keys.refresh_periodically()),
                asyncio.create_task(store.collect_periodically()),
                asyncio.create_task(disconnects.run()),
                asyncio.create_task(follow_healthy_pods(settings.envoy_admin_socket, pods)),
                asyncio.create_task(follow(registry, catalog.update)),
            ]
            if files is not None:
                background.append(asyncio.create_task(remotes.follow()))
            if settings.peers:
                background.append(asyncio.create_task(follow_peers(settings.peers, buckets)))
            decoders = DecoderPool(PROCESS, settings.decoders)
            large_json = LargeJson(decoders, settings.min_offloaded_bytes)
            predict = Predict(dataplane, settings.default_model, settings.max_answer_bytes, large_json)
            pause = settings.stream_keep_alive_seconds
            stream = PredictStream(dataplane, settings.max_answer_bytes, pause, large_json)
            generate = Generate(dataplane, settings.max_answer_bytes, pause)
            v2 = OpenInference(dataplane, catalog, settings.max_answer_bytes, large_json)
            embeddings = Embeddings(dataplane, settings.max_answer_bytes)
            chat = ChatCompletions(dataplane, pause)
            completions = Completions(dataplane, pause)
            create_response = CreateResponse(dataplane, store, pause)
            moderations = Moderations(dataplane, settings.max_answer_bytes, large_json)
            calls = LineCalls(
                batch_endpoints(
                    dataclasses.replace(guard, authenticator=ByKeyId(keys)),
                    chat,
                    completions,
                    embeddings,
                    create_response,
                    moderations,
                    stream_seconds=settings.stream_seconds,
                ),
                settings.batch_lines_at_once,
            )
            batches = _open_batches(settings, calls, lambda: health.report()[0])
            file_routes: FileRoutes | NoFiles = NoFiles()
            batch_routes: BatchRoutes | NoFiles = NoFiles()
            if batches is not None:
                file_routes = FileRoutes(batches.files, settings.max_uploads)
                background.append(asyncio.create_task(batches.files.collect_periodically()))
                background.append(asyncio.create_task(batches.runner.run()))
                batch_routes = BatchRoutes(batches.batches, batches.files, calls.endpoints, batches.runner.look)
            in_batches = calls.endpoints if batches else ()
            openapi = OpenApi(catalog, settings.default_model, in_batches) if settings.docs == "key" else None
            # Before FastAPI's own: routes are tried in turn.
            app.router.routes[:0] = routes(
                guard,
                health,
                ModelList(catalog),
                predict,
                stream,
                v2,
                generate,
                embeddings,
                chat,
                completions,
                create_response,
                StoredResponses(store),
                Transcriptions(dataplane),
                Translations(dataplane),
                Speech(dataplane, pause),
                moderations,
                file_routes,
                batch_routes,
                task_handlers(dataplane, settings.max_answer_bytes, large_json),
                openapi,
                stream_seconds=settings.stream_seconds,
                with_metrics=not settings.metrics_port,
            )
            if not tracing_enabled():  # FastAPI makes the spans
                dispatcher.add(predictions(guard, predict, v2))
            app.openapi = lambda: document(catalog, settings.default_model, in_batches)  # type: ignore[method-assign]
            queue_metrics = QueueMetrics(catalog, admission)
            REGISTRY.register(queue_metrics)
            freeze_startup_objects()
            try:
                yield
            finally:
                REGISTRY.unregister(queue_metrics)
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
                await decoders.close()
                await keys.write_last_uses()
                await catalog.close()
                await remotes.close()
                await upstream.close()

    # FastAPI makes each request's span itself; metrics and logs are the endpoints'.
    telemetry: TelemetryConfig = {
        "tracing": tracing_enabled(),
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "exclude": lambda scope: scope["path"] in UNTRACED,
    }
    app = FastAPIOffline(
        title="Penstock",
        lifespan=lifespan,
        docs_url=None,  # its page has no headers that protect it
        redoc_url=None,
        static_url=_DOCS_ASSETS,
        telemetry=telemetry,
        redirect_slashes=False,
    )
    if settings.docs == "open":  # otherwise the page could not read /openapi.json, which comes before FastAPI's own
        app.router.routes += [Route("/docs", DocsPage(_DOCS_ASSETS).show), Route("/try", TryPage().show)]
    # The endpoints handle their errors, bodies and metrics themselves, and FastAPI's middlewares for these would add a
    # tenth to the gateway's work. The two that are kept serve the router's own refusals and /docs; spans are made outside.
    app.middleware_stack = ExceptionMiddleware(
        AsyncExitStackMiddleware(app.router), handlers={HTTPException: partial(no_such_route, router_members)}
    )
    dispatcher = Dispatcher(app)
    return _with_cors(dispatcher, settings.cors_origins) if settings.cors_origins else dispatcher


def _with_cors(app: App, origins: list[str]) -> App:
    """``app`` for the pages of ``origins`` too; a key goes in a header, so no cookies are allowed."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["*"],
        expose_headers=["*"],
    )


def _in_pods(
    version: Version, upstream: Upstream, pods: HealthyPods, bounds: RequestBounds, settings: GatewaySettings
) -> PodVersion:
    """A version behind ``upstream``, with a coalescer of its own."""
    pool = _pool(version.model, settings)
    # Pods merge what differs in shape and is padded, so a call of few rows is no reason to hold the next one back.
    calls = _CALLS_OF_PADDED if any(field.pad for field in version.manifest.inputs) else 1
    most = min(settings.max_bundle_rows, version.manifest.batching.max_batch_size)
    coalescer = Coalescer(
        upstream.sender(version.model, version.version, version.manifest),
        blames_item=row_could_be_to_blame,
        observe_wait=QUEUE_SECONDS.labels(version.model, pool).observe,
        max_outstanding=lambda: calls * pods.calls(pool) if settings.coalesce else settings.max_queue_rows,
        max_rows=most if settings.coalesce else 1,
        max_size=settings.max_bundle_bytes,
        max_queued_rows=settings.max_queue_rows,
        max_queued_size=settings.max_queue_bytes,
    )
    stream = upstream.streamer(version.model, version.version, version.manifest)
    return PodVersion(version, coalescer, lambda: upstream.model_ready(version.model, version.version), stream, bounds)


def _pods_answer(catalog: Catalog, pods: HealthyPods, settings: GatewaySettings) -> bool:
    """Whether some version that gets traffic has a healthy pod; true if there is none, or nothing is known of pods."""
    pools = {_pool(servable.model, settings) for servable in catalog.servables()}
    return not pools or not pods.count or any(pods.count.get(pool) for pool in pools)


def _open_batches(settings: GatewaySettings, calls: LineCalls, ready: Callable[[], bool]) -> BatchService | None:
    """Files and batches, if there is a database and a store for them."""
    if not settings.files_url or Path(settings.keys_url).is_dir():
        return None
    # A gateway that reads a mounted Secret needs neither the memory nor the start-up time of SQLAlchemy.
    from penstock_gateway.batches.batch_service import open_service

    file_bounds, batch_bounds = _of_settings(FileBounds, settings), _of_settings(BatchBounds, settings)
    return open_service(settings.keys_url, settings.files_url, calls, ready, file_bounds, batch_bounds)


def _of_settings(kind: Callable[..., T], settings: GatewaySettings) -> T:
    """A dataclass whose fields are settings of the same names."""
    return kind(**{name: getattr(settings, name) for name in inspect.signature(kind).parameters})


def _pool(model: str, settings: GatewaySettings) -> str:
    """The pool of a model; Envoy's configuration without pools has one cluster, of the name that is the default here."""
    return pool_of(model, settings.pools) or "inference"
