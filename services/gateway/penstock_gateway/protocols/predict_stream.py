"""``/v1``: a row's fields in, a stream of predictions out."""

from __future__ import annotations

from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.edge.event_stream import DONE
from penstock_gateway.protocols.chunk_events import chunk_events
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.protocols.predict import presented
from penstock_gateway.protocols.row_body import RowBody
from penstock_gateway.signature.rows import RawOutputs


class PredictStream:
    """``POST /v1/models/{model}/stream`` and that of a version: each chunk as an event, in the form of ``predict``.

    Args:
        max_answer_bytes: the largest chunk that is built.
        keep_alive_seconds: without a chunk, after which a comment is sent.
        large_json: decodes large bodies; without it all are decoded here.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        max_answer_bytes: int,
        keep_alive_seconds: float,
        large_json: LargeJson | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._max_answer_bytes = max_answer_bytes
        self._keep_alive_seconds = keep_alive_seconds
        self._rows = RowBody(large_json)

    async def __call__(self, call: Call) -> Reply:
        answer = await self._dataplane.stream(call, call.path["model"], call.path.get("version", ""), self._rows)

        def document(outputs: RawOutputs) -> bytes:
            return presented(answer.servable, outputs, answer.rows, self._max_answer_bytes)

        return await chunk_events(self._dataplane, call, answer, document, self._keep_alive_seconds, [DONE])
