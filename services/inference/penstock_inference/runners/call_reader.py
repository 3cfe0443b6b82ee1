"""Calls of tools in a text that keeps the grammar of ``tool_calls``, read as the text comes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from penstock_inference.runners.call_forms import CallForm
from penstock_inference.runners.call_parameters import ParameterReader

_NAME_AT_END = re.compile(r"[a-zA-Z0-9_-]*$")


class CallReader:
    """Takes the calls out of a text, which may end anywhere.

    Args:
        form: how the calls are written.
        texts: of each tool, the parameters that are written as they are, if the form is not JSON.

    Attributes:
        called: a call has begun.
    """

    def __init__(self, form: CallForm, texts: Mapping[str, frozenset[str]]) -> None:
        self.called = False
        self._form = form
        self._texts = texts
        self._is_text = False  # without an opening, the beginning of a text says that it is not a call
        self._held = ""  # what is not understood yet
        self._read = 0  # calls whose arguments are whole
        self._arguments: _JsonObject | ParameterReader | None = None  # of the call that is being read

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
        mark = self._form.opening or self._form.before_name
        if not self._form.opening and (self._is_text or not mark.startswith(self._held[: len(mark)])):
            self._is_text = True
            content, self._held = self._held, ""
            return content
        content, found, rest = self._held.partition(mark)
        if found:
            self.called, self._held = True, rest if self._form.opening else mark + rest
            return content
        held = next((n for n in range(len(mark) - 1, 0, -1) if content.endswith(mark[:n])), 0)
        passed = len(content) - held
        self._held = content[passed:]
        return content[:passed]

    def _next_piece(self) -> dict[str, Any] | None:
        if self._arguments is None:
            begin = self._held.find(self._form.before_name)
            head, found, rest = self._held[begin:].partition(self._form.before_arguments)
            if begin < 0 or not found:
                return None
            name = _NAME_AT_END.findall(head)[0]
            self._held, self._arguments = rest, self._argument_reader(name)
            return {"index": self._read, "id": self._new_id(), "name": name, "arguments": ""}
        if not self._held:
            return None
        read, arguments = self._arguments.take(self._held)
        if not arguments:
            return None
        piece = {"index": self._read, "arguments": arguments}
        self._held = self._held[read:]
        if self._arguments.ended:
            self._arguments = None
            self._read += 1
        return piece

    def _argument_reader(self, tool: str) -> _JsonObject | ParameterReader:
        if self._form.parameters is None:
            return _JsonObject()
        return ParameterReader(self._form.parameters, self._form.after_arguments, self._texts.get(tool, frozenset()))

    def _new_id(self) -> str:
        return secrets.token_hex(5)[:9] if self._form.short_ids else f"call_{secrets.token_hex(12)}"


class _JsonObject:
    """Finds the end of an object of JSON, whose text comes in pieces."""

    def __init__(self) -> None:
        self.ended = False
        self._open = 0  # brackets
        self._in_string = self._escaped = False

    def take(self, text: str) -> tuple[int, str]:
        """Return how many characters of the text belong to it, and these."""
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
                    return place + 1, text[: place + 1]
        return len(text), text
