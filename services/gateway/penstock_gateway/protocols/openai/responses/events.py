"""The events of a response that is streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.edge.event_stream import NamedDocument
from penstock_gateway.protocols.openai.chat import token_object
from penstock_gateway.protocols.openai.errors import openai_error
from penstock_gateway.protocols.openai.generation import Piece
from penstock_gateway.protocols.openai.responses.items import OutputText
from penstock_gateway.protocols.openai.responses.resource import Response


class ResponseEvents:
    """Words the events of one response, whose only output is a message of one text; they are numbered from 0."""

    def __init__(self, response: Response) -> None:
        self._response = response
        [self._message] = response.output
        self._number = 0

    def opening(self) -> Iterator[NamedDocument]:
        """Up to the empty text."""
        begun = msgspec.structs.replace(self._response, output=[])
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        yield self._event("response.output_item.added", output_index=0, item=self._message)
        yield self._part("response.content_part.added", part=OutputText(""))

    def delta(self, piece: Piece) -> NamedDocument:
        logprobs = [token_object(token) for token in piece.logprobs]
        return self._part("response.output_text.delta", delta=piece.text, logprobs=logprobs)

    def closing(self) -> Iterator[NamedDocument]:
        """From the whole text to the whole item."""
        [text] = self._message.content
        assert isinstance(text, OutputText)
        yield self._part("response.output_text.done", text=text.text, logprobs=text.logprobs)
        yield self._part("response.content_part.done", part=text)
        yield self._event("response.output_item.done", output_index=0, item=self._message)

    def end(self) -> NamedDocument:
        """The whole response, with the status that it has now."""
        return self._event(f"response.{self._response.status}", response=self._response)

    def error(self, err: PenstockError) -> dict[str, Any]:
        """The document of the last event, if an error ends the stream.

        OpenAI has the error's members beside ``type``, Open Responses in ``error``.
        """
        error = openai_error(err)["error"]
        members = {name: error[name] for name in ("code", "message", "param")}
        return {"type": "error", "sequence_number": self._number, **members, "error": error}

    def _part(self, kind: str, **members: Any) -> NamedDocument:
        return self._event(kind, item_id=self._message.id, output_index=0, content_index=0, **members)

    def _event(self, kind: str, **members: Any) -> NamedDocument:
        document = msgspec.json.encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return NamedDocument(kind.encode(), document)
