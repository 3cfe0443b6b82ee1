"""The registry's route table and handlers: they parse requests and encode answers, nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import FileResponse, RedirectResponse

from penstock_common.errors import PenstockError
from penstock_common.object_store.store import CHUNK
from penstock_common.registry_models import AdminRequest, AliasRequest, RegisterRequest, RetireRequest, UploadRequest
from penstock_registry import request_parsing as parse
from penstock_registry.authentication import check_role
from penstock_registry.registry import Registry
from penstock_registry.watch import Watch


class _BlobResponse(FileResponse):
    # Starlette reads 64 KiB at a time, at a third of the speed.
    chunk_size = CHUNK


class Role:
    """A dependency of a route: the role that its caller's token needs."""

    def __init__(self, role: str) -> None:
        self.role = role

    def __call__(self, request: Request) -> None:
        check_role(request.state.roles, self.role)


READ, PUBLISH, PROMOTE, ADMIN = ([Depends(Role(role))] for role in ("read", "publish", "promote", "admin"))


def api(registry: Registry, watch: Watch, *, max_json_bytes: int) -> APIRouter:
    """All routes: ``/v1``, health and metrics."""
    router = APIRouter()

    async def body(request: Request, kind: Any) -> Any:
        return await parse.json_body(request, kind, max_json_bytes)

    @router.post("/v1/models/{model}/uploads", dependencies=PUBLISH)
    async def uploads(model: str, request: Request) -> Response:
        return _json(await registry.upload_targets(model, await body(request, UploadRequest)))

    @router.put("/v1/blobs/sha256/{digest}", dependencies=PUBLISH)
    async def put_blob(digest: str, request: Request) -> Response:
        size = parse.content_length(request.headers.get("content-length"))
        created = await registry.blobs.write(parse.digest(digest), request.stream(), size)
        return Response(status_code=201 if created else 200)

    @router.get("/v1/blobs/sha256/{digest}", dependencies=READ)
    async def get_blob(digest: str, request: Request) -> Response:
        parse.digest(digest)
        parse.check_range(request.headers.get("range"))
        if await registry.blobs.info(digest) is None:
            raise PenstockError(404, "unknown-blob", f"There is no blob {digest}.")
        file = registry.blobs.local_file(digest)
        if file is None:
            return RedirectResponse(await registry.blobs.download_url(digest), status_code=307)
        return _BlobResponse(file, media_type="application/octet-stream", headers={"ETag": f'"{digest}"'})

    @router.post("/v1/models/{model}/versions", dependencies=PUBLISH)
    async def register(model: str, request: Request) -> Response:
        return _json(await registry.register(model, await body(request, RegisterRequest)), 201)

    @router.get("/v1/models", dependencies=READ)
    async def models() -> Response:
        return _json(watch.snapshot().models)

    @router.get("/v1/models/{model}", dependencies=READ)
    async def describe(model: str) -> Response:
        return _json(await registry.model(model))

    @router.delete("/v1/models/{model}", dependencies=ADMIN)
    async def delete(model: str, request: Request) -> Response:
        return _json(await registry.delete(model, await body(request, AdminRequest)))

    @router.post("/v1/models/{model}/repair", dependencies=ADMIN)
    async def repair(model: str, request: Request) -> Response:
        return _json(await registry.repair(model, await body(request, AdminRequest)))

    @router.get("/v1/models/{model}/versions/{version}", dependencies=READ)
    async def version(model: str, version: str) -> Response:
        return _json(await registry.version(model, parse.version_number(version)))

    @router.get("/v1/models/{model}/versions/{version}/files", dependencies=READ)
    async def downloads(model: str, version: str) -> Response:
        return _json(await registry.download_targets(model, parse.version_number(version)))

    @router.post("/v1/models/{model}/versions/{version}/retire", dependencies=PROMOTE)
    async def retire(model: str, version: str, request: Request) -> Response:
        number = parse.version_number(version)
        return _json(await registry.retire(model, number, await body(request, RetireRequest)))

    @router.post("/v1/models/{model}/versions/{version}/quarantine", dependencies=ADMIN)
    async def quarantine(model: str, version: str, request: Request) -> Response:
        number = parse.version_number(version)
        return _json(await registry.quarantine(model, number, await body(request, AdminRequest)))

    @router.get("/v1/models/{model}/log", dependencies=READ)
    async def history(model: str) -> Response:
        return _json(await registry.log_entries(model))

    @router.put("/v1/models/{model}/aliases/{alias}", dependencies=PROMOTE)
    async def set_alias(model: str, alias: str, request: Request) -> Response:
        expect = parse.if_match(request.headers.get("if-match"))
        return _json(await registry.set_alias(model, alias, await body(request, AliasRequest), expect))

    @router.delete("/v1/models/{model}/aliases/{alias}", dependencies=PROMOTE)
    async def delete_alias(model: str, alias: str) -> Response:
        return _json(await registry.delete_alias(model, alias))

    @router.get("/v1/watch", dependencies=READ)
    async def changes(cursor: str = "", wait: str = "0") -> Response:
        return _json(await watch.wait(cursor, parse.wait_seconds(wait)))

    @router.get("/v1/fsck", dependencies=ADMIN)
    async def fsck(deep: bool = False) -> Response:
        return _json(await registry.fsck(deep=deep))

    @router.get("/healthz")
    async def healthz() -> Response:
        return _json({"status": "alive"})

    @router.get("/readyz")
    async def readyz() -> Response:
        ready = watch.store_reachable and watch.started
        # With a full disk everything can still be read, so that is no reason to take the registry out of service.
        store = "away" if not watch.store_reachable else "starting" if not ready else _disk(registry)
        return _json({"ready": ready, "components": {"store": store}}, 200 if ready else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def _disk(registry: Registry) -> str:
    return "disk-full" if registry.blobs.disk_is_full() else "ok"


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
