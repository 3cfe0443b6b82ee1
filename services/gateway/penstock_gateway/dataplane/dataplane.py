"""The one way that every request takes, whatever its protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.pools import matches
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.edge.call import JSON, Call, Reply
from penstock_gateway.edge.disconnect import DisconnectWatch
from penstock_gateway.limits.admission import Usage
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

#: Reads and checks a request's rows. Raises ``PenstockError`` 400, 413, 415 or 422.
Parse = Callable[[Call, Signature], Rows | Awaitable[Rows]]


class Answer(msgspec.Struct):
    """What a servable answered to a request's rows."""

    servable: Servable
    rows: Rows
    outputs: RawOutputs

    def reply(self, body: bytes, content_type: bytes = JSON, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
        """The reply in a protocol's form, with the version that gave it and what it used."""
        version = (b"x-model-version", self.servable.version.encode())
        return Reply(body, content_type, headers=[version, *headers], usage=Usage(rows=self.rows.count))


def check_allowed(principal: Principal, model: str) -> None:
    """Refuse a model that a principal may not ask.

    Raises:
        PenstockError: 403 ``model-not-allowed``.
    """
    if principal.models is not None and not matches(model, principal.models):
        allowed = ", ".join(principal.models)
        text = f"The key '{principal.name}' may not ask the model {model!r}; it may ask: {allowed}."
        raise PenstockError(403, "model-not-allowed", text)


class DataPlane:
    """Resolves, validates, admits and answers.

    Args:
        catalog: finds the servable of a request.
        disconnects: ends the work for a client that has gone.
    """

    def __init__(self, catalog: Catalog, disconnects: DisconnectWatch) -> None:
        self._catalog = catalog
        self._disconnects = disconnects

    def resolve(self, principal: Principal, model: str, version: str = "") -> Servable:
        """The servable that ``model`` (or ``model@alias``) and ``version`` name now.

        Raises:
            PenstockError: 403 ``model-not-allowed``; 404, 409 or 503 of ``Catalog.resolve``.
        """
        check_allowed(principal, model.partition("@")[0])
        return self._catalog.resolve(model, version)

    async def infer(self, call: Call, model: str, version: str, parse: Parse) -> Answer:
        """Answer a call.

        Raises:
            PenstockError: of ``resolve``, ``parse``, ``Lease.admit`` and ``Servable.infer``.
        """
        servable = self.resolve(call.principal, model, version)
        rows = parse(call, servable.signature)
        if not isinstance(rows, Rows):
            rows = await rows
        call.body = b""  # the rows have copies of what they need
        rows.principal = call.principal.id
        await call.lease.admit(servable.model, rows.count)
        outputs = await self._disconnects.wait(servable.infer(rows, call.deadline), call.receive)
        return Answer(servable, rows, outputs)
