"""``POST /v1/chat/completions``: a conversation in, its next message out, whole or as it is written."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.openai.chat_request import ChatRequest, chat_inputs
from penstock_gateway.protocols.openai.choices import Choices
from penstock_gateway.protocols.openai.generation import Alternative, CallPiece, Gathered, Piece, Token
from penstock_gateway.protocols.openai.request import decode_request


class ChatShape:
    """The objects of a chat completion."""

    id_prefix = "chatcmpl"
    whole = "chat.completion"
    chunk = "chat.completion.chunk"

    def choice(self, index: int, text: Gathered) -> dict[str, Any]:
        return {
            "index": index,
            "message": _message(text),
            "logprobs": _logprobs(text.logprobs),
            "finish_reason": text.finish_reason,
        }

    def opening(self, index: int) -> dict[str, Any] | None:
        return {
            "index": index,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }

    def delta(self, index: int, piece: Piece) -> dict[str, Any]:
        return {
            "index": index,
            "delta": _delta(piece),
            "logprobs": _logprobs(piece.logprobs),
            "finish_reason": piece.finish_reason or None,
        }


class ChatCompletions:
    def __init__(self, dataplane: DataPlane, keep_alive_seconds: float) -> None:
        self._choices = Choices(dataplane, ChatShape(), keep_alive_seconds)
        self._decoder = msgspec.json.Decoder(ChatRequest)

    async def __call__(self, call: Call) -> Reply:
        request = decode_request(self._decoder, call.body)
        return await self._choices.reply(call, request, chat_inputs(request))


def _message(text: Gathered) -> dict[str, Any]:
    if not text.calls:
        return {"role": "assistant", "content": text.text, "refusal": None}
    calls = [_call(text.calls[index]) for index in sorted(text.calls)]
    return {"role": "assistant", "content": text.text or None, "refusal": None, "tool_calls": calls}


def _delta(piece: Piece) -> dict[str, Any]:
    delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
    if piece.calls:
        delta["tool_calls"] = [{"index": call.index} | _call(call) for call in piece.calls]
    return delta


def _call(call: CallPiece) -> dict[str, Any]:
    """A call of a tool; of a piece behind the first only the arguments."""
    if not call.id:
        return {"function": {"arguments": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _logprobs(tokens: list[Token]) -> dict[str, Any] | None:
    if not tokens:
        return None
    return {"content": [token_object(token) for token in tokens], "refusal": None}


def token_object(token: Token) -> dict[str, Any]:
    """A token with its log probability, and those of the likeliest in its place."""
    return _alternative(token) | {"top_logprobs": [_alternative(t) for t in token.top_logprobs]}


def _alternative(token: Alternative) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": list(token.token.encode())}
