"""The events of a response that is streamed."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_common.errors import PenstockError
from penstock_gateway.edge.event_stream import NamedDocument
from penstock_gateway.protocols.openai.errors import openai_error
from penstock_gateway.protocols.openai.responses.output import Event


class EventWriter:
    """Writes the events of one response, which are numbered from 0."""

    def __init__(self) -> None:
        self._number = 0

    def write(self, event: Event) -> NamedDocument:
        kind, members = event
        document = msgspec.json.encode({"type": kind, "sequence_number": self._number, **members})
        self._number += 1
        return NamedDocument(kind.encode(), document)

    def error(self, err: PenstockError) -> dict[str, Any]:
        """The document of the last event, if an error ends the stream.

        OpenAI has the error's members beside ``type``, Open Responses in ``error``.
        """
        error = openai_error(err)["error"]
        members = {name: error[name] for name in ("code", "message", "param")}
        return {"type": "error", "sequence_number": self._number, **members, "error": error}
