"""The registry's client, for gateways, pods, training and the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from penstock_common.artifact_transfer import fetch_artifact, upload_artifact
from penstock_common.registry_connection import RegistryConnection
from penstock_common.registry_models import (
    AdminRequest,
    AliasRequest,
    AliasTarget,
    FsckReport,
    LogEntry,
    Model,
    RegisterRequest,
    RetireRequest,
    Snapshot,
    Version,
)

_REGISTER_TIMEOUT = 300.0  # seconds; the registry reads all blobs of a new version
_FSCK_TIMEOUT = 3600.0  # seconds; a deep one reads all blobs


class RegistryClient:
    """Calls of one registry; use it as an async context manager.

    All methods raise ``PenstockError``: the registry's own, or 503 ``registry-unreachable``.

    Args:
        token_file: the file with the registry's token, read for each call; None for a registry that asks for none.
        timeout: seconds for each step of a call (connect, send, receive).
        transport: carries all requests instead of the network.
    """

    def __init__(
        self,
        base_url: str,
        token_file: Path | None = None,
        *,
        timeout: float = 10.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._connection = RegistryConnection(base_url, token_file, timeout=timeout, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.aclose()

    async def watch(self, cursor: str = "", wait: float = 0.0) -> Snapshot:
        """The newest snapshot; if that is the one of ``cursor``, wait up to ``wait`` seconds for a change."""
        params = {"cursor": cursor, "wait": wait}
        timeout = wait + self._connection.timeout
        return await self._connection.call("GET", "/v1/watch", Snapshot, params=params, timeout=timeout)

    async def models(self) -> list[Model]:
        return await self._connection.call("GET", "/v1/models", list[Model])

    async def model(self, name: str) -> Model:
        return await self._connection.call("GET", f"/v1/models/{name}", Model)

    async def log_entries(self, model: str) -> list[LogEntry]:
        """The model's whole log, oldest entry first."""
        return await self._connection.call("GET", f"/v1/models/{model}/log", list[LogEntry])

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
        """Upload an artifact's folder and register it as a version.

        Args:
            on_progress: called with the size of each chunk sent, in bytes.
        """
        files = await upload_artifact(self._connection, model, folder, on_progress)
        request = RegisterRequest(files, dict(metrics), dict(lineage), by, why)
        path = f"/v1/models/{model}/versions"
        return await self._connection.call("POST", path, Version, body=request, timeout=_REGISTER_TIMEOUT)

    async def fetch(self, version: Version, folder: Path) -> None:
        """Download an artifact into ``folder``, which appears complete and verified, or not at all."""
        await fetch_artifact(self._connection, version, folder)

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
        """Point an alias at versions.

        Args:
            expect: the only version that the alias may point at now; 0 if it must not exist; None if it does not matter.
        """
        headers = {} if expect is None else {"If-Match": f'"{expect}"'}
        body = AliasRequest(targets, by, why)
        return await self._connection.call(
            "PUT", f"/v1/models/{model}/aliases/{alias}", Model, body=body, headers=headers
        )

    async def delete_alias(self, model: str, alias: str) -> Model:
        return await self._connection.call("DELETE", f"/v1/models/{model}/aliases/{alias}", Model)

    async def retire(self, model: str, version: int, *, by: str = "", why: str = "") -> Model:
        """Mark a version as retired, so that no alias can point at it."""
        path = f"/v1/models/{model}/versions/{version}/retire"
        return await self._connection.call("POST", path, Model, body=RetireRequest(by, why))

    async def quarantine(self, model: str, version: int, *, by: str = "", why: str = "") -> Model:
        """Take a version away from everybody, and out of all aliases."""
        path = f"/v1/models/{model}/versions/{version}/quarantine"
        return await self._connection.call("POST", path, Model, body=AdminRequest(by, why))

    async def repair(self, model: str, *, by: str = "", why: str = "") -> Model:
        """Give up the entries that a model's log has lost, so that it can be changed again."""
        return await self._connection.call("POST", f"/v1/models/{model}/repair", Model, body=AdminRequest(by, why))

    async def delete(self, model: str, *, by: str = "", why: str = "") -> Model:
        """Delete a model that has no aliases, or whose log is damaged; return what is left, its revision."""
        return await self._connection.call("DELETE", f"/v1/models/{model}", Model, body=AdminRequest(by, why))

    async def fsck(self, *, deep: bool = False) -> FsckReport:
        """Look for what is wrong in the registry's store; with ``deep``, read the bytes of all blobs."""
        return await self._connection.call("GET", "/v1/fsck", FsckReport, params={"deep": deep}, timeout=_FSCK_TIMEOUT)
