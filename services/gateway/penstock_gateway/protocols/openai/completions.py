"""``POST /v1/completions``: a text in, what follows it out, whole or as it is written."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.openai.choices import Choices, ChoicesRequest
from penstock_gateway.protocols.openai.errors import bad_request
from penstock_gateway.protocols.openai.generation import (
    PROMPT,
    Gathered,
    ModelInputs,
    Piece,
    Token,
    refuse_what_changes_meaning,
    sampling_inputs,
)
from penstock_gateway.protocols.openai.request import Int64, decode_request


class CompletionRequest(ChoicesRequest, kw_only=True):
    """A body of ``/v1/completions``."""

    prompt: str | list[str]
    max_tokens: Int64 | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    # Members that change the answer, and that nothing here carries out.
    best_of: msgspec.Raw = msgspec.Raw()
    echo: msgspec.Raw = msgspec.Raw()
    suffix: msgspec.Raw = msgspec.Raw()


_NEUTRAL: dict[str, Any] = {
    "best_of": 1,
    "echo": False,
    "suffix": "",
}


class CompletionShape:
    """The objects of a completion; a chunk has those of the whole."""

    id_prefix = "cmpl"
    whole = "text_completion"
    chunk = "text_completion"

    def choice(self, index: int, text: Gathered) -> dict[str, Any]:
        logprobs = _logprobs(text.logprobs)
        return {"index": index, "text": text.text, "logprobs": logprobs, "finish_reason": text.finish_reason}

    def opening(self, index: int) -> dict[str, Any] | None:
        return None

    def delta(self, index: int, piece: Piece) -> dict[str, Any]:
        logprobs = _logprobs(piece.logprobs)
        return {"index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": piece.finish_reason or None}


class Completions:
    def __init__(self, dataplane: DataPlane, keep_alive_seconds: float) -> None:
        self._choices = Choices(dataplane, CompletionShape(), keep_alive_seconds)
        self._decoder = msgspec.json.Decoder(CompletionRequest)

    async def __call__(self, call: Call) -> Reply:
        request = decode_request(self._decoder, call.body)
        return await self._choices.reply(call, request, _inputs(request))


def _inputs(request: CompletionRequest) -> ModelInputs:
    refuse_what_changes_meaning(request, _NEUTRAL)
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    if len(prompts) != 1:
        raise bad_request(f"prompt: send one text, not {len(prompts)}.", "prompt")
    inputs = {PROMPT: prompts[0]} | sampling_inputs(request)
    if request.max_tokens is not None:
        inputs["max_tokens"] = request.max_tokens
    if request.logprobs is not None:
        inputs["logprobs"] = request.logprobs
    return ModelInputs(inputs)


def _logprobs(tokens: list[Token]) -> dict[str, Any] | None:
    if not tokens:
        return None
    return {
        "tokens": [token.token for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{t.token: t.logprob for t in token.top_logprobs} for token in tokens],
        "text_offset": [],
    }
