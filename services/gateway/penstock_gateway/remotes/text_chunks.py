"""The chunks of a streamed answer of OpenAI's API, and what of them a model that generates text answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from penstock_common.manifest import Output
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.rows import RawOutputs

#: The outputs of a chunk that a remote can give, with their datatypes.
GIVEN = {
    "text": "BYTES",
    "tokens": "INT32",
    "finish_reason": "BYTES",
    "prompt_tokens": "INT32",
    "logprobs": "BYTES",
    "tool_calls": "BYTES",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPiece(msgspec.Struct):
    """A piece of a call of a tool; some servers that send whole calls leave out the index."""

    index: Annotated[int, msgspec.Meta(ge=0)] = 0
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)

    def as_output(self) -> dict[str, Any]:
        called = self.function
        named = {"id": self.id, "name": called.name or ""} if self.id else {}
        return {"index": self.index, **named, "arguments": called.arguments or ""}


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_CallPiece] | None = None


class _Alternative(msgspec.Struct):
    token: str
    logprob: float


class _Token(_Alternative):
    top_logprobs: list[_Alternative] = []


class _Logprobs(msgspec.Struct):
    """Of a chat: ``content``; of a completion: three lists, an item for each token."""

    content: list[_Token] | None = None
    tokens: list[str] = []
    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None

    def of_tokens(self) -> list[_Token]:
        if self.content is not None:
            return self.content
        best = self.top_logprobs or [None] * len(self.tokens)
        return [
            _Token(token, logprob or 0.0, [_Alternative(*item) for item in (top or {}).items()])
            for token, logprob, top in zip(self.tokens, self.token_logprobs, best, strict=False)
        ]


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


#: As many as the outputs can say.
TokenNumber = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class TokenUsage(msgspec.Struct):
    prompt_tokens: TokenNumber = 0
    completion_tokens: TokenNumber = 0


class Chunk(msgspec.Struct):
    """A chunk of a chat or of a completion; members that are not named here are left out."""

    choices: list[_Choice] = []
    usage: TokenUsage | None = None
    error: msgspec.Raw = msgspec.Raw()

    @property
    def failed(self) -> bool:
        return bytes(self.error) not in (b"", b"null")


CHUNK = msgspec.json.Decoder(Chunk)


class Gathered(msgspec.Struct):
    """What has been read of a stream; its finish and its tokens are known at its end."""

    finish_reason: str = ""
    usage: TokenUsage | None = None
    counted: int = 0  # tokens, as far as the chunks tell

    def add(self, chunk: Chunk) -> dict[str, Any]:
        """The outputs of a chunk that are passed on at once; none if it has nothing but a role, a finish or tokens."""
        self.usage = chunk.usage or self.usage
        if not chunk.choices:
            return {}
        [choice, *_] = chunk.choices
        text = (choice.delta.content if choice.delta else choice.text) or ""
        tokens = choice.logprobs.of_tokens() if choice.logprobs else []
        calls = (choice.delta.tool_calls if choice.delta else None) or []
        self.finish_reason = (choice.finish_reason or self.finish_reason)[:40]
        if not text and not tokens and not calls:
            return {}
        self.counted += max(1, len(tokens))
        return {"text": text, "logprobs": _json(tokens), "tool_calls": _json([call.as_output() for call in calls])}

    @property
    def tokens(self) -> TokenUsage:
        """Those that the server has counted; else one for each chunk."""
        return self.usage or TokenUsage(0, self.counted)

    def last(self) -> dict[str, Any]:
        """The outputs of the last chunk."""
        tokens = self.tokens
        return {
            "finish_reason": self.finish_reason or "stop",
            "tokens": tokens.completion_tokens,
            "prompt_tokens": tokens.prompt_tokens,
        }


def _json(items: list[Any]) -> str:
    return msgspec.json.encode(items).decode() if items else ""


def raw_outputs(outputs: Sequence[Output], values: dict[str, Any]) -> RawOutputs:
    """The tensors of one chunk in the order of a signature; what is not among the values is empty or 0."""
    return RawOutputs(
        [
            pack_bytes([values.get(output.name, "").encode(errors="replace")])
            if output.datatype == "BYTES"
            else np.int32(values.get(output.name, 0)).tobytes()
            for output in outputs
        ]
    )
