"""The one way that every request takes, whatever its protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.pools import matches
from penstock_common.service import Service
from penstock_gateway.auth.principal import Principal
from penstock_gateway.dataplane.catalog import Catalog
from penstock_gateway.dataplane.open_streams import OpenStreams
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
        origin = origin_headers(self.servable, self.rows)
        return Reply(body, content_type, headers=[*origin, *headers], usage=Usage(rows=self.rows.count))


def check_allowed(principal: Principal, model: str) -> None:
    """Refuse a model that a principal may not ask.

    Raises:
        PenstockError: 403 ``model-not-allowed``.
    """
    if principal.models is not None and not matches(model, principal.models):
        allowed = ", ".join(principal.models)
        text = f"The key '{principal.name}' may not ask the model {model!r}; it may ask: {allowed}."
        raise PenstockError(403, "model-not-allowed", text)


def origin_headers(servable: Servable, rows: Rows) -> list[tuple[bytes, bytes]]:
    """The version that was asked, and who answered if that could have been a remote."""
    version = (b"x-model-version", servable.version.encode())
    return [version, (b"x-served-by", rows.served_by.encode())] if rows.served_by else [version]


class StreamedAnswer(msgspec.Struct):
    """What a servable answers to a request's rows, chunk by chunk; whoever has it closes ``chunks``."""

    servable: Servable
    rows: Rows
    chunks: AsyncGenerator[RawOutputs, None]

    def begun(self, reply: Reply) -> Reply:
        """The reply that streams it, with the version that gives it and what it uses."""
        reply.headers[:0] = origin_headers(self.servable, self.rows)
        reply.usage = Usage(rows=self.rows.count)
        return reply


class DataPlane:
    """Resolves, validates, admits and answers.

    Args:
        catalog: finds the servable of a request.
        disconnects: ends the work for a client that has gone.
        open_streams: bounds how many are open.
    """

    def __init__(self, catalog: Catalog, disconnects: DisconnectWatch, open_streams: OpenStreams) -> None:
        self._catalog = catalog
        self._disconnects = disconnects
        self._open_streams = open_streams

    def resolve(self, principal: Principal, model: str, version: str = "") -> Servable:
        """The servable that ``model`` (or ``model@alias``) and ``version`` name now.

        Raises:
            PenstockError: 403 ``model-not-allowed``; 404, 409 or 503 of ``Catalog.resolve``.
        """
        check_allowed(principal, model.partition("@")[0])
        return self._catalog.resolve(model, version, principal.models)

    def default_model(self, principal: Principal, service: Service) -> str:
        """The model that answers a principal for a service if a request names none.

        Raises:
            PenstockError: of ``Catalog.default_model``.
        """
        return self._catalog.default_model(service, principal.models)

    async def infer(self, call: Call, model: str, version: str, parse: Parse) -> Answer:
        """Answer a call.

        Raises:
            PenstockError: of ``resolve``, ``parse``, ``Lease.admit`` and ``Servable.infer``.
        """
        servable, rows = await self._admitted(call, model, version, parse)
        outputs = await self._disconnects.wait(servable.infer(rows, call.deadline), call.receive)
        return Answer(servable, rows, outputs)

    async def stream(self, call: Call, model: str, version: str, parse: Parse) -> StreamedAnswer:
        """Answer a call chunk by chunk; nothing is asked of the servable before the first chunk is.

        Raises:
            PenstockError: of ``resolve``, ``parse`` and ``Lease.admit``; the chunks raise those of ``OpenStreams`` and
                ``Servable.stream``.
        """
        servable, rows = await self._admitted(call, model, version, parse)
        return StreamedAnswer(servable, rows, self._chunks(servable, rows, call))

    def cancelling_on_disconnect(self, call: Call) -> AbstractContextManager[None]:
        """Cancel the calling task if the client goes away before the block ends."""
        return self._disconnects.cancelling_on_disconnect(call.receive)

    async def _admitted(self, call: Call, model: str, version: str, parse: Parse) -> tuple[Servable, Rows]:
        servable = self.resolve(call.principal, model, version)
        rows = parse(call, servable.signature)
        if not isinstance(rows, Rows):
            rows = await rows
        call.body = b""  # the rows have copies of what they need
        rows.principal = call.principal.id
        if work := servable.signature.image_work(rows):
            rows.image_work = work
            call.lease.grow(work)
        await call.lease.admit(servable.model, rows.count)
        return servable, rows

    async def _chunks(self, servable: Servable, rows: Rows, call: Call) -> AsyncGenerator[RawOutputs, None]:
        with self._open_streams.opened(call.principal.id) as stream:
            async with aclosing(servable.stream(rows, call.deadline)) as chunks:
                async for outputs in chunks:
                    stream.count_chunk()
                    yield outputs
