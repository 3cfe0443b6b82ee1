"""One stream of generated text: its tokens so far, and what of their text has been sent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from penstock_inference.runners.call_reader import CallReader
from penstock_inference.runners.detokenizer import Detokenizer
from penstock_inference.runners.generation_request import GenerationRequest
from penstock_inference.runners.runner import Chunk
from penstock_inference.runners.stop_strings import StopStrings
from penstock_inference.runners.texts import json_column, text_column
from penstock_inference.runners.token_chooser import TokenChoice


class GeneratedStream:
    """Makes chunks of the tokens of a stream.

    Args:
        number: of the stream.
        max_tokens: new ones, at most.
        ends: tokens that end it and have no text.
        tokenizer: of ``transformers``.
    """

    def __init__(
        self, number: int, request: GenerationRequest, max_tokens: int, ends: Collection[int], tokenizer: Any
    ) -> None:
        self.number = number
        self.request = request
        self.max_tokens = max_tokens
        self.sequence = ""  # its name in the batch; empty while it waits
        self._ends = ends
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(self._decode)
        self._stops = StopStrings(request.stop)  # of the text beside the calls
        self._calls: CallReader | None = None
        self._hidden: frozenset[int] | None = None  # special tokens without a text; None for all that there are
        if request.grammar is not None and (form := request.grammar.calls) is not None:
            self._calls = CallReader(form, request.grammar.texts)
            marks = {number for token, number in form.special_tokens(tokenizer).items() if token != form.optional}
            if marks:
                special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
                self._hidden = frozenset(special - marks)
        self._count = 0
        self._unsent = 0  # tokens that no chunk has counted
        self._logprobs: list[dict[str, Any]] = []
        self._call_pieces: list[dict[str, Any]] = []  # that no chunk has

    def add(self, choice: TokenChoice) -> Chunk | None:
        """Return a chunk if a token completes some text or is the last one."""
        self._count += 1
        self._unsent += 1
        if choice.logprob is not None:
            self._logprobs.append(self._with_text(choice))
        if choice.token in self._ends:
            return self._last("stop")
        text, stopped = self._take(self._detokenizer.add(choice.token))
        if stopped:
            self._call_pieces = []  # they come behind the stop
            return self._chunk(text, "stop")
        if choice.final:
            return self._last("stop", text)
        if self._count == self.max_tokens:
            return self._last("length", text)
        return self._chunk(text, "") if text or self._call_pieces else None

    def _take(self, text: str) -> tuple[str, bool]:
        """Return what of a text can be passed on, and whether a stop has come; keep what belongs to calls."""
        if self._calls is not None:
            text, pieces = self._calls.add(text)
            self._call_pieces += pieces
        return self._stops.add(text)

    def _decode(self, tokens: Sequence[int]) -> str:
        if self._hidden is not None:
            tokens = [token for token in tokens if token not in self._hidden]
        hide = self._hidden is None
        return str(self._tokenizer.decode(tokens, skip_special_tokens=hide, clean_up_tokenization_spaces=False))

    def _last(self, reason: str, text: str = "") -> Chunk:
        rest, stopped = self._take(self._detokenizer.rest())
        if not stopped and self._calls is not None:
            more, stopped = self._stops.add(self._calls.rest())
            rest += more
            if self._calls.called and reason == "stop":
                reason = "tool_calls"
        if not stopped:
            rest += self._stops.rest()
        return self._chunk(text + rest, "stop" if stopped else reason)

    def _chunk(self, text: str, reason: str) -> Chunk:
        outputs = {
            "text": text_column([text]),
            "tokens": np.array([self._unsent], np.int32),
            "finish_reason": text_column([reason]),
            "prompt_tokens": np.array([len(self.request.prompt)], np.int32),
            "logprobs": json_column([self._logprobs]),
            "tool_calls": json_column([self._call_pieces]),
        }
        self._unsent, self._logprobs, self._call_pieces = 0, [], []
        return Chunk(self.number, outputs, last=bool(reason))

    def _with_text(self, choice: TokenChoice) -> dict[str, Any]:
        likeliest = [self._named(token, logprob) for token, logprob in choice.likeliest]
        return {**self._named(choice.token, choice.logprob), "top_logprobs": likeliest}

    def _named(self, token: int, logprob: float | None) -> dict[str, Any]:
        return {"token": self._decode([token]), "id": token, "logprob": logprob}
