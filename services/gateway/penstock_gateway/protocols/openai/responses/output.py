"""The output of a response, item by item, as the model's pieces come: messages, and calls of functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock_gateway.protocols.openai.chat import token_object
from penstock_gateway.protocols.openai.generation import CallPiece, Piece
from penstock_gateway.protocols.openai.responses.items import FunctionCall, Item, Message, OutputText, new_id

#: The type of an event, and its members.
Event = tuple[str, dict[str, Any]]


class Output:
    """Adds the pieces of one response to its items, and says what has changed.

    An event shows the items as they are when it is yielded.

    Args:
        items: of the response; empty.
    """

    def __init__(self, items: list[Item]) -> None:
        self._items = items
        self._open: Message | FunctionCall | None = None  # the last item, while it is not whole
        self._call = -1  # index among the calls

    def add(self, piece: Piece) -> Iterator[Event]:
        """Yield the events of a piece."""
        if piece.text or (piece.logprobs and isinstance(self._open, Message)):
            yield from self._add_text(piece)
        for call in piece.calls:
            yield from self._add_call(call)

    def end(self, status: str) -> Iterator[Event]:
        """Yield the events after the last piece; a response without any has said nothing, in a message.

        Args:
            status: of the last item.
        """
        if not self._items:
            yield from self._begin_message()
        yield from self._close(status)

    def _add_text(self, piece: Piece) -> Iterator[Event]:
        if not isinstance(self._open, Message):
            yield from self._close()
            yield from self._begin_message()
        assert isinstance(self._open, Message)
        [text] = self._open.content
        assert isinstance(text, OutputText)
        logprobs = [token_object(token) for token in piece.logprobs]
        text.text += piece.text
        text.logprobs += logprobs
        yield self._of_text("response.output_text.delta", delta=piece.text, logprobs=logprobs)

    def _add_call(self, call: CallPiece) -> Iterator[Event]:
        if call.index != self._call:
            yield from self._close()
            self._call = call.index
            yield from self._begin(FunctionCall(new_id("fc"), call.id, call.name, "", "in_progress"))
        assert isinstance(self._open, FunctionCall)
        if call.arguments:
            self._open.arguments += call.arguments
            yield self._of_item("response.function_call_arguments.delta", delta=call.arguments)

    def _begin(self, item: Message | FunctionCall) -> Iterator[Event]:
        self._open = item
        self._items.append(item)
        yield "response.output_item.added", {"output_index": len(self._items) - 1, "item": item}

    def _begin_message(self) -> Iterator[Event]:
        message = Message(new_id("msg"), "assistant", [], "in_progress")
        yield from self._begin(message)
        message.content.append(OutputText(""))
        yield self._of_text("response.content_part.added", part=message.content[0])

    def _close(self, status: str = "completed") -> Iterator[Event]:
        item = self._open
        if item is None:
            return
        item.status = status
        if isinstance(item, FunctionCall):
            yield self._of_item("response.function_call_arguments.done", arguments=item.arguments)
        else:
            [text] = item.content
            assert isinstance(text, OutputText)
            yield self._of_text("response.output_text.done", text=text.text, logprobs=text.logprobs)
            yield self._of_text("response.content_part.done", part=text)
        yield "response.output_item.done", {"output_index": len(self._items) - 1, "item": item}
        self._open = None

    def _of_item(self, kind: str, **members: Any) -> Event:
        return kind, {"item_id": self._items[-1].id, "output_index": len(self._items) - 1, **members}

    def _of_text(self, kind: str, **members: Any) -> Event:
        return self._of_item(kind, content_index=0, **members)
