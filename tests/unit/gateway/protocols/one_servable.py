"""A data plane of one servable that answers what it was told to; the protocols are what is tested."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import cast

from penstock_common.manifest import Manifest
from penstock_common.service import Service
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.model_entry import ModelListing
from penstock_gateway.dataplane.open_streams import OpenStreams
from penstock_gateway.edge.call import Call, Receive
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.limits.admission import Usage
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature


class OneServable:
    """Catalog and servable at once.

    Args:
        outputs: the raw tensors of every answer.
        listings: what the catalog lists.
        shapes: of a row of each output, if they vary.
    """

    version = "3"

    def __init__(
        self,
        model: str,
        manifest: Manifest,
        outputs: tuple[bytes, ...] = (),
        listings: tuple[ModelListing, ...] = (),
        shapes: list[tuple[int, ...]] | None = None,
    ) -> None:
        self.model = model
        self.signature = Signature(manifest, model)
        self.resolved: list[tuple[str, str]] = []
        self.services: list[Service] = []  # of which the default model was asked for
        self.inferred: list[Rows] = []
        self._outputs = list(outputs)
        self._shapes = shapes
        self._listings = list(listings)
        self.catalog = cast(Catalog, self)
        self.dataplane = DataPlane(self.catalog, DisconnectWatch(), OpenStreams(8, 4))

    def models(self, allowed: Sequence[str] | None = None) -> list[ModelListing]:
        return [listing for listing in self._listings if allowed is None or listing.id in allowed]

    def listing(self, name: str, allowed: Sequence[str] | None = None) -> ModelListing:
        found = [listing for listing in self._listings if listing.id == name]
        return found[0] if found else ModelListing(name, 0, True, "", {}, [], [])

    def default_model(self, service: Service, allowed: Sequence[str] | None = None) -> str:
        self.services.append(service)
        return self.model

    def production(self) -> list[OneServable]:
        return [self]

    def resolve(self, model: str, version: str, allowed: Sequence[str] | None) -> OneServable:
        self.resolved.append((model, version))
        return self

    async def ready(self) -> bool:
        return True

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        self.inferred.append(rows)
        future: asyncio.Future[RawOutputs] = asyncio.get_running_loop().create_future()
        future.set_result(RawOutputs(self._outputs, self._shapes))
        return future


class FreeLease:
    """Costs nothing."""

    def grow(self, size: int) -> None: ...

    async def admit(self, model: str, rows: int) -> None: ...

    def headers(self) -> list[tuple[bytes, bytes]]:
        return []

    def settle(self, usage: Usage) -> None: ...


def call(body: bytes = b"", headers: dict[bytes, bytes] | None = None, *, model: str = "", version: str = "") -> Call:
    """An authenticated request, as the endpoint hands it to a protocol."""
    path = {name: value for name, value in (("model", model), ("version", version)) if value}
    principal = Principal("ann", "Ann")
    return Call(path, headers or {}, body, principal, time.monotonic() + 5, cast(Receive, None), FreeLease())


def multipart(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """The body and headers of a form of parts (name, filename or None, content), as curl -F writes it."""
    lines = []
    for name, filename, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
        lines += [b"--limit", f"Content-Disposition: {disposition}".encode(), b"", content]
    body = b"\r\n".join([*lines, b"--limit--", b""])
    return body, {b"content-type": b"multipart/form-data; boundary=limit"}
