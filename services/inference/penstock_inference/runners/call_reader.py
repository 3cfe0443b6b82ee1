"""Calls of tools in a text that keeps the grammar of ``tool_calls``, read as the text comes."""

from __future__ import annotations

import secrets
from typing import Any

from penstock_inference.runners.tool_calls import BEFORE_ARGUMENTS, OPEN


class CallReader:
    """Takes the calls out of a text, which may end anywhere.

    Attributes:
        called: a call has begun.
    """

    def __init__(self) -> None:
        self.called = False
        self._held = ""  # what is not understood yet
        self._read = 0  # calls whose arguments are whole
        self._arguments: _JsonObject | None = None  # of the call that is being read

    def add(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        """Return what of the text belongs to no call, and pieces of calls.

        A piece has the ``index`` of its call and more of its ``arguments``; the first also has ``id`` and ``name``.
        """
        self._held += text
        content = "" if self.called else self._content()
        pieces = []
        while self.called and (piece := self._next_piece()):
            pieces.append(piece)
        return content, pieces

    def rest(self) -> str:
        """Return the text that is still held back and belongs to no call, at the end of a stream."""
        return "" if self.called else self._held

    def _content(self) -> str:
        """Return what comes before the first call; hold back what its mark may begin with."""
        content, mark, rest = self._held.partition(OPEN)
        if mark:
            self.called, self._held = True, rest
            return content
        held = next((n for n in range(len(OPEN) - 1, 0, -1) if content.endswith(OPEN[:n])), 0)
        passed = len(content) - held
        self._held = content[passed:]
        return content[:passed]

    def _next_piece(self) -> dict[str, Any] | None:
        if self._arguments is None:
            head, found, rest = self._held.partition(BEFORE_ARGUMENTS)
            if not found:
                return None
            self._held, self._arguments = rest, _JsonObject()
            name = head.rpartition('"')[2]  # a name has no quotes
            return {"index": self._read, "id": f"call_{secrets.token_hex(12)}", "name": name, "arguments": ""}
        if not self._held:
            return None
        arguments = self._arguments.take(self._held)
        piece = {"index": self._read, "arguments": arguments}
        self._held = self._held[len(arguments) :]
        if self._arguments.ended:
            self._arguments = None
            self._read += 1
        return piece


class _JsonObject:
    """Finds the end of an object of JSON, whose text comes in pieces."""

    def __init__(self) -> None:
        self.ended = False
        self._open = 0  # brackets
        self._in_string = self._escaped = False

    def take(self, text: str) -> str:
        """Return what of the text belongs to it."""
        for place, character in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._open += 1
            elif character in "}]":
                self._open -= 1
                if not self._open:
                    self.ended = True
                    return text[: place + 1]
        return text
