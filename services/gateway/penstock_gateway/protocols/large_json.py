"""JSON that is decoded outside the event loop, since its parsing holds the interpreter's lock."""

from __future__ import annotations

import msgspec

from penstock_gateway.decoders.messages import Job
from penstock_gateway.decoders.pool import DecoderPool
from penstock_gateway.edge.call import Call
from penstock_gateway.protocols.oip_request import OipRequest
from penstock_gateway.signature.column import Column
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

PROCESS = "penstock_gateway.protocols.decoder_process"
_OIP_REQUEST = msgspec.msgpack.Decoder(OipRequest)


class LargeJson:
    """Bodies whose JSON part has more than ``min_bytes``.

    Args:
        min_bytes: 256 kB of JSON hold the event loop for up to 10 ms, as the exchange with a process would.
    """

    def __init__(self, pool: DecoderPool, min_bytes: int) -> None:
        self._pool = pool
        self.min_bytes = min_bytes

    async def rows(self, call: Call, signature: Signature) -> Rows:
        """As ``RowDecoder.decode_json``."""
        job = Job("v1", signature.encoded, len(call.body), bounds=signature.bounds)
        rows, _ = await self._pool.decode(job, call.body, call.deadline)
        return rows

    async def column(self, call: Call, column: Column, signature: Signature) -> Rows:
        """As ``Column.rows``."""
        body = msgspec.json.encode(column)
        job = Job("column", signature.encoded, len(body), bounds=signature.bounds)
        rows, _ = await self._pool.decode(job, body, call.deadline)
        return rows

    async def tensors(self, call: Call, signature: Signature, json_length: int | None) -> tuple[OipRequest, Rows]:
        """As ``oip_request.decode`` and ``RowDecoder.decode_tensors``; the request has no tensors left."""
        job = Job("v2", signature.encoded, len(call.body), json_length, signature.bounds)
        rows, request = await self._pool.decode(job, call.body, call.deadline)
        return _OIP_REQUEST.decode(request), rows
