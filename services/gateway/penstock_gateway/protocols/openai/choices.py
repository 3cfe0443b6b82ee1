"""The texts of one request: each is a stream of the model, answered whole or in chunks as they come."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Protocol

import msgspec
import orjson

from penstock_common.errors import PenstockError
from penstock_gateway.dataplane.dataplane import DataPlane, StreamedAnswer
from penstock_gateway.edge.call import JSON, Call, Reply
from penstock_gateway.edge.event_stream import DONE, event_stream_reply
from penstock_gateway.limits.admission import Usage
from penstock_gateway.protocols.openai.errors import openai_error
from penstock_gateway.protocols.openai.generation import (
    Gathered,
    ModelInputs,
    Piece,
    PieceReader,
    Sampling,
    TokenCount,
    generation_rows,
    naming_input,
    usage,
)
from penstock_gateway.protocols.openai.pictures import Picture
from penstock_gateway.protocols.openai.request import ModelName
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

_MOST_CHOICES = 8


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChoicesRequest(Sampling, kw_only=True):
    """The members that requests for text have in common.

    Attributes:
        n: how many texts; a seed is that of the first, the next has the next one.
    """

    model: ModelName
    n: Annotated[int, msgspec.Meta(ge=1, le=_MOST_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


class Shape(Protocol):
    """How a route words its answers: the names of its objects, and a choice of a whole answer or of a chunk."""

    id_prefix: str
    whole: str
    chunk: str

    def choice(self, index: int, text: Gathered) -> dict[str, Any]: ...

    def opening(self, index: int) -> dict[str, Any] | None:
        """What comes before the first piece of a text, if anything."""

    def delta(self, index: int, piece: Piece) -> dict[str, Any]: ...


class Choices:
    """Answers requests for text.

    Args:
        keep_alive_seconds: without a chunk, after which a stream gets a comment.
    """

    def __init__(self, dataplane: DataPlane, shape: Shape, keep_alive_seconds: float) -> None:
        self._dataplane = dataplane
        self._shape = shape
        self._keep_alive_seconds = keep_alive_seconds

    async def reply(self, call: Call, request: ChoicesRequest, inputs: ModelInputs) -> Reply:
        """Answer a request.

        Args:
            inputs: the model's, without those that differ from text to text.

        Raises:
            PenstockError: of ``DataPlane.stream`` and of the model's chunks.
        """
        answers = [await self._start(call, request, inputs, i) for i in range(request.n or 1)]
        with self._dataplane.cancelling_on_disconnect(call):
            if request.stream:
                documents = self._chunks(request, answers, inputs.pictures)
                reply = await event_stream_reply(documents, self._keep_alive_seconds, openai_error)
            else:
                reply = Reply(await self._whole(request, answers, inputs.pictures), JSON)
        begun = answers[0].begun(reply)
        begun.usage = Usage(rows=sum(answer.rows.count for answer in answers))
        return begun

    async def _start(self, call: Call, request: ChoicesRequest, inputs: ModelInputs, i: int) -> StreamedAnswer:
        own = inputs
        if request.seed is not None:
            own = replace(inputs, values={**inputs.values, "seed": request.seed + i})

        def rows(_: Call, signature: Signature) -> Rows:
            return generation_rows(signature, own)

        return await self._dataplane.stream(call, request.model, "", rows)

    async def _whole(
        self, request: ChoicesRequest, answers: Sequence[StreamedAnswer], pictures: Sequence[Picture]
    ) -> bytes:
        texts = [Gathered() for _ in answers]
        async with aclosing(_pieces(answers, pictures)) as pieces:
            async for i, piece in pieces:
                texts[i].add(piece)
        choices = [self._shape.choice(i, text) for i, text in enumerate(texts)]
        head = self._head(self._shape.whole, request.model)
        return orjson.dumps(head | {"choices": choices, "usage": usage(texts)})

    async def _chunks(
        self, request: ChoicesRequest, answers: Sequence[StreamedAnswer], pictures: Sequence[Picture]
    ) -> AsyncGenerator[bytes, None]:
        head = self._head(self._shape.chunk, request.model)
        with_usage = request.stream_options is not None and request.stream_options.include_usage
        if with_usage:
            head["usage"] = None
        counts = [TokenCount() for _ in answers]
        begun = set()
        async with aclosing(_pieces(answers, pictures)) as pieces:
            async for i, piece in pieces:
                counts[i].add(piece)
                if i not in begun:
                    begun.add(i)
                    if opening := self._shape.opening(i):
                        yield orjson.dumps(head | {"choices": [opening]})
                yield orjson.dumps(head | {"choices": [self._shape.delta(i, piece)]})
        if with_usage:
            yield orjson.dumps(head | {"choices": [], "usage": usage(counts)})
        yield DONE

    def _head(self, kind: str, model: str) -> dict[str, Any]:
        number = f"{self._shape.id_prefix}-{random.getrandbits(96):024x}"
        return {"id": number, "object": kind, "created": int(time.time()), "model": model}


async def _pieces(
    answers: Sequence[StreamedAnswer], pictures: Sequence[Picture]
) -> AsyncGenerator[tuple[int, Piece], None]:
    """Yield the pieces of all texts as they come, each with the number of its text; closing it ends all of them."""
    readers = [PieceReader(answer.servable.signature.manifest, answer.servable.model) for answer in answers]
    coming = {asyncio.ensure_future(anext(answer.chunks, None)): i for i, answer in enumerate(answers)}
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                i = coming.pop(task)
                try:
                    chunk = task.result()
                except PenstockError as err:
                    raise naming_input(err, answers[i].servable.signature.manifest, pictures) from None
                if chunk is not None:
                    coming[asyncio.ensure_future(anext(answers[i].chunks, None))] = i
                    yield i, readers[i].read(chunk)
    finally:
        for task in coming:
            task.cancel()
        await asyncio.gather(*coming, return_exceptions=True)
        for answer in answers:
            await answer.chunks.aclose()
