"""The gateway's route table, on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from penstock_gateway.edge.call import Handler, Receive, Scope, Send
from penstock_gateway.edge.endpoint import Endpoint, Guard
from penstock_gateway.edge.health import Health
from penstock_gateway.protocols.model_list import ModelList
from penstock_gateway.protocols.oip import OpenInference
from penstock_gateway.protocols.openai.batches import BatchRoutes
from penstock_gateway.protocols.openai.chat import ChatCompletions
from penstock_gateway.protocols.openai.completions import Completions
from penstock_gateway.protocols.openai.embeddings import Embeddings
from penstock_gateway.protocols.openai.errors import openai_reply
from penstock_gateway.protocols.openai.files import FileRoutes, NoFiles
from penstock_gateway.protocols.openai.moderations import Moderations
from penstock_gateway.protocols.openai.responses.create import CreateResponse
from penstock_gateway.protocols.openai.responses.stored import StoredResponses
from penstock_gateway.protocols.openai.speech import Speech
from penstock_gateway.protocols.openai.transcriptions import Transcriptions, Translations
from penstock_gateway.protocols.openapi import OpenApi
from penstock_gateway.protocols.predict import Predict
from penstock_gateway.protocols.predict_stream import PredictStream
from penstock_gateway.protocols.tasks.handler import TaskHandler
from penstock_gateway.protocols.triton_absent import ABSENT, absent
from penstock_gateway.protocols.triton_generate import Generate

# Answered to anyone, and left out of the traces.
UNTRACED = frozenset({"/health", "/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready", "/try"})


class _ByMethod:
    """The endpoints of one path; with a route for each, a 405 would name the methods of one of them only."""

    def __init__(self, **endpoints: Endpoint) -> None:
        self._endpoints = endpoints | {"HEAD": endpoints["GET"]}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoints[scope["method"]](scope, receive, send)


def predictions(guard: Guard, predict: Predict, v2: OpenInference) -> dict[str, Endpoint]:
    """The calls that are made most, by path; all are ``POST``."""
    v1_predict, v2_infer = Endpoint("predict", guard, predict), Endpoint("infer", guard, v2.infer)
    return {
        "/v1/models/{model}/predict": v1_predict,
        "/v1/models/{model}/versions/{version}/predict": v1_predict,
        "/predict": v1_predict,
        "/v2/models/{model}/infer": v2_infer,
        "/v2/models/{model}/versions/{version}/infer": v2_infer,
    }


def batch_endpoints(
    guard: Guard,
    chat: ChatCompletions,
    completions: Completions,
    embeddings: Embeddings,
    create_response: CreateResponse,
    moderations: Moderations,
    *,
    stream_seconds: float,
) -> dict[str, Endpoint]:
    """The calls that a batch can make, by path; all are ``POST``."""
    return {
        "/v1/chat/completions": Endpoint("chat", guard, chat, openai_reply, stream_seconds),
        "/v1/completions": Endpoint("completions", guard, completions, openai_reply, stream_seconds),
        "/v1/embeddings": Endpoint("embeddings", guard, embeddings, openai_reply, stream_seconds),
        "/v1/responses": Endpoint("responses", guard, create_response, openai_reply, stream_seconds),
        "/v1/moderations": Endpoint("moderations", guard, moderations, openai_reply, stream_seconds),
    }


def routes(
    guard: Guard,
    health: Health,
    models: ModelList,
    predict: Predict,
    stream: PredictStream,
    v2: OpenInference,
    generate: Generate,
    embeddings: Embeddings,
    chat: ChatCompletions,
    completions: Completions,
    create_response: CreateResponse,
    stored_responses: StoredResponses,
    transcriptions: Transcriptions,
    translations: Translations,
    speech: Speech,
    moderations: Moderations,
    files: FileRoutes | NoFiles,
    batches: BatchRoutes | NoFiles,
    tasks: Sequence[TaskHandler[Any]],
    openapi: OpenApi | None,
    *,
    stream_seconds: float,
    with_metrics: bool,
) -> list[BaseRoute]:
    def protected(path: str, name: str, handler: Handler, method: str = "POST") -> Route:
        return Route(path, Endpoint(name, guard, handler), methods=[method])

    def openai(
        path: str, name: str, handler: Handler, method: str = "POST", longest_seconds: float | None = None
    ) -> Route:
        return Route(path, Endpoint(name, guard, handler, openai_reply, longest_seconds), methods=[method])

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    def streaming(path: str, name: str, handler: Handler) -> Route:
        return Route(path, Endpoint(name, guard, handler, longest_seconds=stream_seconds), methods=["POST"])

    one_response = _ByMethod(
        GET=Endpoint("responses", guard, stored_responses.show, openai_reply),
        DELETE=Endpoint("responses", guard, stored_responses.delete, openai_reply),
    )
    return [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in predictions(guard, predict, v2).items()),
        openai("/v1/models", "models", models.all, "GET"),
        openai("/v1/models/{model}", "models", models.one, "GET"),
        openai("/v1/embeddings", "embeddings", embeddings),
        openai("/v1/chat/completions", "chat", chat, longest_seconds=stream_seconds),
        openai("/v1/chat", "chat", chat, longest_seconds=stream_seconds),
        openai("/v1/completions", "completions", completions, longest_seconds=stream_seconds),
        openai("/v1/responses", "responses", create_response, longest_seconds=stream_seconds),
        Route("/v1/responses/{response}", one_response, methods=["GET", "DELETE"]),
        openai("/v1/responses/{response}/input_items", "responses", stored_responses.input_items, "GET"),
        openai("/v1/responses/{response}/cancel", "responses", stored_responses.cancel),
        openai("/v1/audio/transcriptions", "transcriptions", transcriptions, longest_seconds=stream_seconds),
        openai("/v1/audio/translations", "translations", translations, longest_seconds=stream_seconds),
        openai("/v1/audio/speech", "speech", speech, longest_seconds=stream_seconds),
        openai("/v1/moderations", "moderations", moderations),
        *_file_routes(guard, files, batches, stream_seconds),
        *(streaming(task.route.path, task.route.name, task) for task in tasks),
        streaming("/v1/models/{model}/stream", "stream", stream),
        streaming("/v1/models/{model}/versions/{version}/stream", "stream", stream),
        streaming("/v2/models/{model}/generate_stream", "generate_stream", generate.stream),
        streaming("/v2/models/{model}/versions/{version}/generate_stream", "generate_stream", generate.stream),
        protected("/v2/models/{model}/generate", "generate", generate.generate),
        protected("/v2/models/{model}/versions/{version}/generate", "generate", generate.generate),
        *([protected("/openapi.json", "openapi", openapi, "GET")] if openapi else []),
        protected("/v2", "v2", v2.server, "GET"),
        *(protected(path, "v2", absent(instead), method) for method, path, instead in ABSENT),
        protected("/v2/models/{model}", "v2", v2.metadata, "GET"),
        protected("/v2/models/{model}/versions/{version}", "v2", v2.metadata, "GET"),
        protected("/v2/models/{model}/config", "v2", v2.config, "GET"),
        protected("/v2/models/{model}/versions/{version}/config", "v2", v2.config, "GET"),
        protected("/v2/models/{model}/ready", "v2", v2.ready, "GET"),
        protected("/v2/models/{model}/versions/{version}/ready", "v2", v2.ready, "GET"),
        protected("/v2/repository/index", "v2", v2.index),
        Route("/v2/health/live", health.live),
        Route("/v2/health/ready", health.server_ready),
        *(Route(path, health.live) for path in ("/health", "/healthz")),
        Route("/readyz", health.ready),
        *([Route("/metrics", metrics)] if with_metrics else []),
    ]


def _file_routes(
    guard: Guard, files: FileRoutes | NoFiles, batches: BatchRoutes | NoFiles, stream_seconds: float
) -> list[BaseRoute]:
    def endpoint(name: str, handler: Handler, longest_seconds: float | None = None) -> Endpoint:
        return Endpoint(name, guard, handler, openai_reply, longest_seconds)

    upload = Endpoint("files", guard, files.create, openai_reply, stream_seconds, handler_reads_body=True)
    all_files = _ByMethod(GET=endpoint("files", files.list), POST=upload)
    one_file = _ByMethod(GET=endpoint("files", files.show), DELETE=endpoint("files", files.delete))
    all_batches = _ByMethod(GET=endpoint("batches", batches.list), POST=endpoint("batches", batches.create))
    return [
        Route("/v1/files", all_files, methods=["GET", "POST"]),
        Route("/v1/files/{file}", one_file, methods=["GET", "DELETE"]),
        Route("/v1/files/{file}/content", endpoint("files", files.content, stream_seconds), methods=["GET"]),
        Route("/v1/batches", all_batches, methods=["GET", "POST"]),
        Route("/v1/batches/{batch}", endpoint("batches", batches.show), methods=["GET"]),
        Route("/v1/batches/{batch}/cancel", endpoint("batches", batches.cancel), methods=["POST"]),
    ]
