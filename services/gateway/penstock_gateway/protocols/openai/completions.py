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
    Piece,
    refuse_what_changes_meaning,
    sampling_inputs,
)
from penstock_gateway.protocols.openai.request import decode_request


class CompletionRequest(ChoicesRequest, kw_only=True):
    """A body of ``/v1/completions``."""

    prompt: str | list[str | int | list[int]]
    max_tokens: int | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    # Members that change the answer, and that nothing here carries out.
    best_of: int | None = None
    echo: bool | None = None
    suffix: str | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None


_NEUTRAL: dict[str, Any] = {
    "best_of": 1,
    "echo": False,
    "suffix": "",
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
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


def _inputs(request: CompletionRequest) -> dict[str, Any]:
    refuse_what_changes_meaning({name: getattr(request, name) for name in _NEUTRAL}, _NEUTRAL)
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    if len(prompts) != 1 or not isinstance(prompts[0], str):
        raise bad_request("prompt: send one text; several, or token ids, are not taken here.", "prompt")
    inputs = {PROMPT: prompts[0]} | sampling_inputs(request)
    if request.max_tokens is not None:
        inputs["max_tokens"] = request.max_tokens
    if request.logprobs is not None:
        inputs["logprobs"] = request.logprobs
    return inputs


def _logprobs(tokens: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not tokens:
        return None
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [{t["token"]: t["logprob"] for t in token["top_logprobs"]} for token in tokens],
        "text_offset": [],
    }
