"""The registry's route table and its handlers: JSON in and out of the domain."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, Counter, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import RedirectResponse, StreamingResponse

from penstock_common.errors import PenstockError, no_such_call
from penstock_common.registry_models import AliasRequest, RegisterRequest, RetireRequest, UploadRequest
from penstock_registry.service import Registry

log = structlog.get_logger()
REQUESTS = Counter("penstock_registry_requests_total", "Requests, by route and status.", ["route", "status"])

_MAX_JSON = 1024 * 1024
OPEN = frozenset({"/healthz", "/readyz", "/metrics"})
_LONGEST_WAIT = 60.0
T = TypeVar("T")


def api(registry: Registry) -> APIRouter:
    """Everything below ``/v1``, and health."""
    router = APIRouter()

    @router.post("/v1/models/{model}/uploads")
    async def uploads(model: str, request: Request) -> Response:
        return _json(await registry.uploads(model, await _body(request, UploadRequest)))

    @router.put("/v1/blobs/sha256/{digest}")
    async def put_blob(digest: str, request: Request) -> Response:
        _check_digest(digest)
        if registry.blobs.presigns:
            raise PenstockError(
                409, "presigned", "This store takes bytes directly; PUT them to the upload target's URL."
            )
        created = await registry.blobs.write(digest, request.stream())
        return Response(status_code=201 if created else 200)

    @router.get("/v1/blobs/sha256/{digest}")
    async def get_blob(digest: str, request: Request) -> Response:
        _check_digest(digest)
        size = await registry.blobs.size(digest)
        if size is None:
            raise PenstockError(404, "unknown-blob", f"There is no blob {digest}.")
        if registry.blobs.presigns:
            return RedirectResponse(await registry.blobs.signed_get(digest), status_code=307)
        start, end = _range(request.headers.get("range"), size)
        headers = {"Content-Length": str(end - start), "Accept-Ranges": "bytes"}
        partial = "range" in request.headers
        if partial:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return StreamingResponse(
            registry.blobs.read(digest, start, end),
            status_code=206 if partial else 200,
            headers=headers,
            media_type="application/octet-stream",
        )

    @router.post("/v1/models/{model}/versions")
    async def register(model: str, request: Request) -> Response:
        return _json(await registry.register(model, await _body(request, RegisterRequest)), 201)

    @router.get("/v1/models")
    async def models() -> Response:
        return _json(registry.models())

    @router.get("/v1/models/{model}")
    async def describe(model: str) -> Response:
        return _json(await registry.model(model))

    @router.get("/v1/models/{model}/versions/{version}")
    async def version(model: str, version: str) -> Response:
        return _json(await registry.version(model, _number(version)))

    @router.get("/v1/models/{model}/versions/{version}/files")
    async def downloads(model: str, version: str) -> Response:
        return _json(await registry.downloads(model, _number(version)))

    @router.post("/v1/models/{model}/versions/{version}/retire")
    async def retire(model: str, version: str, request: Request) -> Response:
        return _json(await registry.retire(model, _number(version), await _body(request, RetireRequest)))

    @router.get("/v1/models/{model}/log")
    async def history(model: str) -> Response:
        return _json(await registry.log(model))

    @router.put("/v1/models/{model}/aliases/{alias}")
    async def set_alias(model: str, alias: str, request: Request) -> Response:
        expect = _if_match(request.headers.get("if-match"))
        return _json(await registry.set_alias(model, alias, await _body(request, AliasRequest), expect))

    @router.delete("/v1/models/{model}/aliases/{alias}")
    async def delete_alias(model: str, alias: str) -> Response:
        return _json(await registry.delete_alias(model, alias))

    @router.get("/v1/watch")
    async def watch(cursor: str = "", wait: float = 0.0) -> Response:
        return _json(await registry.watch.wait(cursor, min(max(wait, 0.0), _LONGEST_WAIT)))

    @router.get("/healthz")
    async def healthz() -> Response:
        return _json({"status": "alive"})

    @router.get("/readyz")
    async def readyz() -> Response:
        ready = registry.watch.reachable
        return _json({"ready": ready, "components": {"store": "ok" if ready else "away"}}, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def add_edges(app: FastAPI, token: str) -> None:
    """Authentication, metrics and problem documents around every route; an empty token lets all in."""

    async def edges(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            if token and request.url.path not in OPEN:
                _authenticate(request.headers.get("authorization", ""), token)
            response = await call_next(request)
        except PenstockError as err:
            response = problem(err)
        except Exception:
            log.exception("unhandled", path=request.url.path)
            response = problem(PenstockError(500, "internal", "The registry failed on this request; see its log."))
        route = getattr(request.scope.get("route"), "path", "none")
        REQUESTS.labels(route, str(response.status_code)).inc()
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=edges)

    @app.exception_handler(PenstockError)
    async def handle(_: Request, err: PenstockError) -> Response:
        return problem(err)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, err: HTTPException) -> Response:
        return problem(no_such_call(err.status_code, request.method, request.url.path, err.headers))

    @app.exception_handler(RequestValidationError)
    async def bad_parameter(_: Request, err: RequestValidationError) -> Response:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(PenstockError(422, "bad-request", f"{where}: {first['msg']}."))


def problem(err: PenstockError) -> Response:
    return Response(
        msgspec.json.encode(err.problem()), err.status, headers=err.headers, media_type="application/problem+json"
    )


def _authenticate(header: str, token: str) -> None:
    scheme, _, given = header.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
        raise PenstockError(
            401,
            "bad-token",
            "Send the registry's token as 'Authorization: Bearer <token>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def _body(request: Request, kind: type[T]) -> T:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_JSON:
            raise PenstockError(413, "body-too-large", f"The body is larger than {_MAX_JSON} bytes.")
    try:
        return msgspec.json.decode(bytes(data), type=kind)
    except msgspec.ValidationError as err:
        raise PenstockError(422, "bad-request", f"{err}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise PenstockError(400, "bad-json", "The body is not valid JSON.") from None


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _number(version: str) -> int:
    if not version.isdecimal() or len(version) > 9:
        raise PenstockError(404, "unknown-version", f"{version[:20]!r} is not the number of a version.")
    return int(version)


def _if_match(header: str | None) -> int | None:
    if header is None or header.strip() == "*":
        return None
    value = header.strip().strip('"')
    if not value.isdecimal():
        raise PenstockError(400, "bad-if-match", f'If-Match: {header[:40]!r}: give a version\'s number, e.g. "3".')
    return int(value)


def _check_digest(digest: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise PenstockError(422, "bad-digest", "A blob's name is 64 lower-case hexadecimal digits.")


def _range(header: str | None, size: int) -> tuple[int, int]:
    """``bytes=a-b`` (RFC 9110, section 14.2), one range, as start and exclusive end."""
    if header is None:
        return 0, size
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if found and found.group(1):
        start = int(found.group(1))
        end = min(int(found.group(2)) + 1, size) if found.group(2) else size
    elif found and found.group(2):
        start, end = max(0, size - int(found.group(2))), size
    else:
        start, end = size, size
    if start >= end:
        raise PenstockError(
            416, "bad-range", f"Range {header[:40]!r} is not one range within {size} bytes.",
            headers={"Content-Range": f"bytes */{size}"},
        )  # fmt: skip
    return start, end
