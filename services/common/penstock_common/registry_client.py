"""The registry's client: for gateways, pods, training and the command line."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec
import structlog
from prometheus_client import Gauge

from penstock_common.errors import PenstockError
from penstock_common.registry_models import (
    AliasRequest,
    AliasTarget,
    FileRef,
    LogEntry,
    Model,
    RegisterRequest,
    RetireRequest,
    Snapshot,
    Target,
    Targets,
    UploadRequest,
    Version,
)

log = structlog.get_logger()
T = TypeVar("T")

REACHABLE = Gauge("penstock_registry_reachable", "1 while the registry answers this process, 0 while it is away.")

_CHUNK = 1024 * 1024
_LONG_POLL = 25.0


class RegistryClient:
    """Calls of one registry; use as an async context manager.

    All methods raise ``PenstockError``: the registry's own, or 503 ``registry-unreachable``.
    """

    def __init__(self, base_url: str, token: str = "", *, timeout: float = 10.0) -> None:
        self._url = base_url.rstrip("/")
        self._timeout = timeout
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(base_url=self._url, headers=headers, timeout=timeout)
        # Presigned URLs lead elsewhere: whoever answers there must not see the token.
        self._bare = httpx.AsyncClient(timeout=timeout, follow_redirects=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()
        await self._bare.aclose()

    async def watch(self, cursor: str = "", wait: float = 0.0) -> Snapshot:
        return await self._call(
            "GET", "/v1/watch", Snapshot, params={"cursor": cursor, "wait": wait}, timeout=wait + self._timeout
        )

    async def models(self) -> list[Model]:
        return await self._call("GET", "/v1/models", list[Model])

    async def model(self, name: str) -> Model:
        return await self._call("GET", f"/v1/models/{name}", Model)

    async def log(self, model: str) -> list[LogEntry]:
        return await self._call("GET", f"/v1/models/{model}/log", list[LogEntry])

    async def publish(
        self,
        model: str,
        folder: Path,
        *,
        metrics: Mapping[str, float],
        lineage: Mapping[str, Any],
        by: str = "",
        why: str = "",
        on_progress: Callable[[int], None] | None = None,
    ) -> Version:
        """Upload an artifact's folder and commit it as a version.

        Args:
            on_progress: called with the bytes of each chunk that is sent.
        """
        files = await asyncio.to_thread(_describe, folder)
        targets = await self._call("POST", f"/v1/models/{model}/uploads", Targets, body=UploadRequest(files))
        for target in targets.files:
            if not target.present:
                await self._upload(target, folder / target.path, on_progress)
        request = RegisterRequest(files, dict(metrics), dict(lineage), by, why)
        return await self._call("POST", f"/v1/models/{model}/versions", Version, body=request, timeout=300.0)

    async def set_alias(
        self,
        model: str,
        alias: str,
        targets: list[AliasTarget],
        *,
        expect: int | None = None,
        by: str = "",
        why: str = "",
    ) -> Model:
        headers = {} if expect is None else {"If-Match": f'"{expect}"'}
        request = AliasRequest(targets, by, why)
        return await self._call("PUT", f"/v1/models/{model}/aliases/{alias}", Model, body=request, headers=headers)

    async def delete_alias(self, model: str, alias: str) -> Model:
        return await self._call("DELETE", f"/v1/models/{model}/aliases/{alias}", Model)

    async def retire(self, model: str, version: int, *, by: str = "", why: str = "") -> Model:
        return await self._call(
            "POST", f"/v1/models/{model}/versions/{version}/retire", Model, body=RetireRequest(by, why)
        )

    async def fetch(self, version: Version, folder: Path) -> None:
        """Download an artifact into ``folder``, which appears whole, with all digests verified, or not at all."""
        if await asyncio.to_thread(folder.exists):
            return
        targets = await self._call("GET", f"/v1/models/{version.model}/versions/{version.version}/files", Targets)
        partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
        try:
            for target in targets.files:
                await self._download(target, partial / target.path)
            try:
                partial.rename(folder)
            except OSError:
                if not folder.exists():  # else another process has just fetched the same  # noqa: ASYNC240 (in a thread)
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    async def _upload(self, target: Target, path: Path, on_progress: Callable[[int], None] | None) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            with await asyncio.to_thread(path.open, "rb") as file:
                while chunk := await asyncio.to_thread(file.read, _CHUNK):
                    yield chunk
                    if on_progress is not None:
                        on_progress(len(chunk))

        http = self._http if target.url.startswith("/") else self._bare
        headers = {"Content-Length": str(target.size), **target.headers}
        try:
            response = await http.put(target.url, content=chunks(), headers=headers, timeout=300.0)
        except httpx.HTTPError as err:
            raise _unreachable(self._url, err) from None
        if response.is_error:
            raise _problem(response)

    async def _download(self, target: Target, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        http = self._http if target.url.startswith("/") else self._bare
        sha = hashlib.sha256()
        size = 0
        try:
            async with http.stream("GET", target.url, headers=target.headers) as response:
                if response.is_error:
                    await response.aread()
                    raise _problem(response)
                with path.open("wb") as file:
                    async for chunk in response.aiter_bytes(_CHUNK):
                        sha.update(chunk)
                        size += len(chunk)
                        await asyncio.to_thread(file.write, chunk)
        except httpx.HTTPError as err:
            raise _unreachable(self._url, err) from None
        if (size, sha.hexdigest()) != (target.size, target.sha256):
            raise PenstockError(
                503, "corrupt-download", f"{target.path}: {size} bytes with sha256 {sha.hexdigest()} arrived, "
                f"{target.size} with {target.sha256} were expected.",
            )  # fmt: skip

    async def _call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: object = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> T:
        content = None if body is None else msgspec.json.encode(body)
        try:
            response = await self._http.request(
                method,
                path,
                content=content,
                params=params,
                headers={"Content-Type": "application/json", **(headers or {})},
                timeout=timeout or self._timeout,
            )
        except httpx.HTTPError as err:
            raise _unreachable(self._url, err) from None
        if response.is_error:
            raise _problem(response)
        return msgspec.json.decode(response.content, type=kind)


async def follow(client: RegistryClient, on_snapshot: Callable[[Snapshot], Awaitable[None]]) -> None:
    """Call ``on_snapshot`` with the present and each new snapshot, for ever.

    Outages are logged once and waited out with capped, jittered back-off; the
    caller keeps its last good state meanwhile.
    """
    cursor = ""
    failures = 0
    while True:
        try:
            snapshot = await client.watch(cursor, _LONG_POLL if cursor else 0.0)
            if snapshot.cursor != cursor:
                await on_snapshot(snapshot)
                cursor = snapshot.cursor
            if failures:
                log.info("the registry is back", after_failures=failures)
            failures = 0
            REACHABLE.set(1)
        except Exception as err:
            if not failures:
                log.warning("the registry cannot be followed; keeping the last good state", error=str(err))
            failures += 1
            REACHABLE.set(0)
            await asyncio.sleep(min(5.0, 0.1 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0))  # noqa: S311 (jitter)


def _describe(folder: Path) -> list[FileRef]:
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files.append(FileRef(path.relative_to(folder).as_posix(), path.stat().st_size, digest))
    if not files:
        raise PenstockError(422, "bad-artifact", f"{folder} has no files; give the folder that holds model.yaml.")
    return files


def _problem(response: httpx.Response) -> PenstockError:
    try:
        document = response.json()
        return PenstockError(response.status_code, str(document["code"]), str(document["detail"]))
    except (ValueError, KeyError, TypeError):
        return PenstockError(
            503, "registry-unreachable", f"{response.url.host} answered {response.status_code} to {response.url.path}."
        )


def _unreachable(url: str, err: httpx.HTTPError) -> PenstockError:
    return PenstockError(503, "registry-unreachable", f"The registry at {url} cannot be reached: {type(err).__name__}.")
