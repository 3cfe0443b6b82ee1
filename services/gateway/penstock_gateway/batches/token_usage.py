"""The tokens that the answers of a batch took, as the answers themselves say."""

from __future__ import annotations

import msgspec


class TokenUsage(msgspec.Struct, frozen=True):
    """Tokens read and written."""

    input: int = 0
    output: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(self.input + other.input, self.output + other.output)


class _Usage(msgspec.Struct):
    """``/v1/responses`` has other names than the routes that are older; embeddings have no output."""

    input_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_DECODER = msgspec.json.Decoder(_Answer)


def usage_of(body: bytes) -> TokenUsage:
    """The usage in an answer's body, which is a JSON object; none if it does not say."""
    usage = _DECODER.decode(body).usage or _Usage()
    return TokenUsage(usage.input_tokens + usage.prompt_tokens, usage.output_tokens + usage.completion_tokens)
