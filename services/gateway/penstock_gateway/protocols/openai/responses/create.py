"""``POST /v1/responses``: a conversation in, what the model says to it out, whole or as it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.dataplane.dataplane import DataPlane, StreamedAnswer
from penstock_gateway.edge.call import JSON, Call, Reply
from penstock_gateway.edge.event_stream import DONE, NamedDocument, event_stream_reply
from penstock_gateway.protocols.openai.generation import (
    ModelInputs,
    PieceReader,
    TokenCount,
    generation_rows,
    naming_input,
)
from penstock_gateway.protocols.openai.request import decode_request
from penstock_gateway.protocols.openai.responses.events import EventWriter
from penstock_gateway.protocols.openai.responses.items import Item, input_items
from penstock_gateway.protocols.openai.responses.output import Event, Output
from penstock_gateway.protocols.openai.responses.request import ResponsesRequest, model_inputs
from penstock_gateway.protocols.openai.responses.resource import Response, begun_response
from penstock_gateway.protocols.openai.responses.stored import conversation
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature
from penstock_gateway.stored_responses.response_store import ResponseStore, StoredResponse


class CreateResponse:
    """Answers ``POST /v1/responses``.

    Args:
        store: keeps the responses.
        keep_alive_seconds: without an event, after which a stream gets a comment.
    """

    def __init__(self, dataplane: DataPlane, store: ResponseStore, keep_alive_seconds: float) -> None:
        self._dataplane = dataplane
        self._store = store
        self._keep_alive_seconds = keep_alive_seconds
        self._decoder = msgspec.json.Decoder(ResponsesRequest)

    async def __call__(self, call: Call) -> Reply:
        request = decode_request(self._decoder, call.body)
        sent = input_items(request.input)
        earlier: list[Item] = []
        if request.previous_response_id is not None:
            earlier = conversation(await self._store.read(call.principal.id, request.previous_response_id))
        inputs = model_inputs(request, earlier, sent)
        keep = _Keep(self._store, call.principal.id, [*earlier, *sent]) if self._is_kept(request) else None

        def rows(_: Call, signature: Signature) -> Rows:
            return generation_rows(signature, inputs)

        answer = await self._dataplane.stream(call, request.model, "", rows)
        response = begun_response(request, answer.servable.signature.manifest, store=keep is not None)
        events = _output_events(response, answer, inputs)
        with self._dataplane.cancelling_on_disconnect(call):
            if request.stream:
                writer = EventWriter()
                documents = _documents(writer, response, events, keep)
                reply = await event_stream_reply(documents, self._keep_alive_seconds, writer.error)
            else:
                reply = Reply(await _whole(response, events, keep), JSON)
        return answer.begun(reply)

    def _is_kept(self, request: ResponsesRequest) -> bool:
        return self._store.keeps if request.store is None else request.store


class _Keep:
    """Keeps one response.

    Raises:
        PenstockError: of ``ResponseStore.check_size``.
    """

    def __init__(self, store: ResponseStore, principal: str, input_items: list[Item]) -> None:
        self._store = store
        self._principal = principal
        self._input_items = msgspec.json.encode(input_items)
        store.check_size(len(self._input_items))

    async def __call__(self, response: Response) -> None:
        stored = StoredResponse(response.id, msgspec.json.encode(response), self._input_items)
        await self._store.write(self._principal, stored)


async def _whole(response: Response, events: AsyncGenerator[Event, None], keep: _Keep | None) -> bytes:
    async for _ in events:
        pass
    if keep is not None:
        await keep(response)
    return msgspec.json.encode(response)


async def _documents(
    writer: EventWriter, response: Response, output_events: AsyncGenerator[Event, None], keep: _Keep | None
) -> AsyncGenerator[bytes | NamedDocument, None]:
    async with aclosing(output_events) as events:
        begun = msgspec.structs.replace(response, output=[])
        event = await anext(events)  # an error before it is an ordinary refusal
        yield writer.write(("response.created", {"response": begun}))
        yield writer.write(("response.in_progress", {"response": begun}))
        yield writer.write(event)
        try:
            async for event in events:
                yield writer.write(event)
            if keep is not None:
                await keep(response)
        except PenstockError as err:
            response.fail(err)
            yield writer.write(("response.failed", {"response": response}))
            raise
    yield writer.write((f"response.{response.status}", {"response": response}))
    yield DONE


async def _output_events(
    response: Response, answer: StreamedAnswer, inputs: ModelInputs
) -> AsyncGenerator[Event, None]:
    """Add what the model says to a response, and yield the events of that; closing it ends the work."""
    output, count, finish = Output(response.output), TokenCount(), ""
    manifest = answer.servable.signature.manifest
    reader = PieceReader(manifest, answer.servable.model)
    async with aclosing(answer.chunks) as chunks:
        try:
            async for chunk in chunks:
                piece = reader.read(chunk)
                count.add(piece)
                finish = piece.finish_reason or finish
                for event in output.add(piece):
                    yield event
        except PenstockError as err:
            raise naming_input(err, manifest, inputs.pictures) from None
    cut = finish == "length"
    for event in output.end("incomplete" if cut else "completed"):
        yield event
    response.complete(count, cut=cut)
