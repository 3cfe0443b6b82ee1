"""The registry's route table and handlers: they parse requests and encode answers, nothing else."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import FileResponse, RedirectResponse

from penstock_common.errors import PenstockError
from penstock_common.registry_models import AliasRequest, RegisterRequest, RetireRequest, UploadRequest
from penstock_registry.registry import Registry

_MAX_JSON = 1024 * 1024  # bytes
_MAX_WAIT = 60.0  # seconds
T = TypeVar("T")


class _BlobResponse(FileResponse):
    # Starlette reads 64 KiB at a time, at a third of the speed.
    chunk_size = 1024 * 1024


def api(registry: Registry) -> APIRouter:
    """All routes: ``/v1``, health and metrics."""
    router = APIRouter()

    @router.post("/v1/models/{model}/uploads")
    async def uploads(model: str, request: Request) -> Response:
        return _json(await registry.upload_targets(model, await _body(request, UploadRequest)))

    @router.put("/v1/blobs/sha256/{digest}")
    async def put_blob(digest: str, request: Request) -> Response:
        _check_digest(digest)
        if registry.blobs.presigns:
            raise PenstockError(
                409, "presigned", "This store receives bytes directly; PUT them to the URL of the upload target."
            )
        created = await registry.blobs.write(digest, request.stream())
        return Response(status_code=201 if created else 200)

    @router.get("/v1/blobs/sha256/{digest}")
    async def get_blob(digest: str) -> Response:
        _check_digest(digest)
        if await registry.blobs.size(digest) is None:
            raise PenstockError(404, "unknown-blob", f"There is no blob {digest}.")
        file = registry.blobs.local_file(digest)
        if file is None:
            return RedirectResponse(await registry.blobs.url("GET", digest), status_code=307)
        return _BlobResponse(file, media_type="application/octet-stream", headers={"ETag": f'"{digest}"'})

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
        return _json(await registry.download_targets(model, _number(version)))

    @router.post("/v1/models/{model}/versions/{version}/retire")
    async def retire(model: str, version: str, request: Request) -> Response:
        return _json(await registry.retire(model, _number(version), await _body(request, RetireRequest)))

    @router.get("/v1/models/{model}/log")
    async def history(model: str) -> Response:
        return _json(await registry.log_entries(model))

    @router.put("/v1/models/{model}/aliases/{alias}")
    async def set_alias(model: str, alias: str, request: Request) -> Response:
        expect = _if_match(request.headers.get("if-match"))
        return _json(await registry.set_alias(model, alias, await _body(request, AliasRequest), expect))

    @router.delete("/v1/models/{model}/aliases/{alias}")
    async def delete_alias(model: str, alias: str) -> Response:
        return _json(await registry.delete_alias(model, alias))

    @router.get("/v1/watch")
    async def watch(cursor: str = "", wait: float = 0.0) -> Response:
        return _json(await registry.watch.wait(cursor, min(max(wait, 0.0), _MAX_WAIT)))

    @router.get("/healthz")
    async def healthz() -> Response:
        return _json({"status": "alive"})

    @router.get("/readyz")
    async def readyz() -> Response:
        ready = registry.watch.store_reachable
        return _json({"ready": ready, "components": {"store": "ok" if ready else "away"}}, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


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
        raise PenstockError(404, "unknown-version", f"{version[:20]!r} is not a version number.")
    return int(version)


def _if_match(header: str | None) -> int | None:
    if header is None or header.strip() == "*":
        return None
    value = header.strip().strip('"')
    if not value.isdecimal():
        raise PenstockError(
            400, "bad-if-match", f'If-Match: {header[:40]!r} is not a version number; send one, e.g. "3".'
        )
    return int(value)


def _check_digest(digest: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise PenstockError(422, "bad-digest", "The name of a blob is its SHA-256 in 64 lower-case hexadecimal digits.")
