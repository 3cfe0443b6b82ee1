"""The object ``response``, as it is answered, streamed and stored."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from penstock_common.chat_members import TextFormat
from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_gateway.protocols.openai.generation import TokenCount
from penstock_gateway.protocols.openai.responses.forms import FunctionTool, TextFormats, ToolChoice
from penstock_gateway.protocols.openai.responses.items import Item
from penstock_gateway.protocols.openai.responses.request import Metadata, ResponsesRequest
from penstock_gateway.stored_responses.response_store import new_response_id

_REASONING: dict[str, Any] = {"effort": None, "summary": None}


class ResponseText(msgspec.Struct):
    """How the text was bound."""

    format: TextFormats
    verbosity: str = "medium"


class Response(msgspec.Struct, kw_only=True):
    """All members that clients of OpenAI and of Open Responses read; those of features that are not here are constant."""

    id: str
    object: str = "response"
    created_at: int
    completed_at: int | None = None
    status: str = "in_progress"
    model: str
    output: list[Item] = []
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    incomplete_details: dict[str, Any] | None = None
    previous_response_id: str | None
    store: bool
    instructions: str | None
    metadata: Metadata
    temperature: float
    top_p: float
    max_output_tokens: int | None
    top_logprobs: int
    truncation: str = "disabled"
    presence_penalty: float
    frequency_penalty: float
    text: ResponseText
    reasoning: dict[str, Any] = msgspec.field(default_factory=lambda: _REASONING)
    tools: list[FunctionTool]
    tool_choice: ToolChoice
    parallel_tool_calls: bool
    max_tool_calls: int | None
    background: bool = False
    service_tier: str = "default"
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None

    def complete(self, count: TokenCount, *, cut: bool) -> None:
        """Note that it is whole, and what that cost.

        Args:
            cut: whether it has as many tokens as it may.
        """
        self.status = "incomplete" if cut else "completed"
        self.incomplete_details = {"reason": "max_output_tokens"} if cut else None
        self.completed_at = None if cut else int(time.time())
        self.usage = _usage(count)

    def fail(self, err: PenstockError) -> None:
        """Note the error that ended it; what it had said is no longer in it."""
        code = "rate_limit_exceeded" if err.status == 429 else "invalid_prompt" if err.status < 500 else "server_error"
        self.status, self.error = "failed", {"code": code, "message": err.detail}
        self.completed_at = self.incomplete_details = None
        self.output = []


def begun_response(request: ResponsesRequest, manifest: Manifest, *, store: bool) -> Response:
    """The response to a request before its model has said anything.

    Args:
        manifest: the model's, whose defaults apply to what the request does not say.
        store: whether it will be stored.
    """
    text_format = request.text.format if request.text is not None else None
    return Response(
        id=new_response_id(),
        created_at=int(time.time()),
        model=request.model,
        previous_response_id=request.previous_response_id,
        store=store,
        instructions=request.instructions,
        metadata=request.metadata or {},
        temperature=_used(request.temperature, manifest, "temperature"),
        top_p=_used(request.top_p, manifest, "top_p"),
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        max_output_tokens=request.max_output_tokens,
        top_logprobs=request.top_logprobs or 0,
        text=ResponseText(text_format or TextFormat()),
        tools=request.tools or [],
        tool_choice=request.tool_choice or "auto",
        parallel_tool_calls=request.parallel_tool_calls is not False,
        max_tool_calls=request.max_tool_calls,
        user=request.user,
        safety_identifier=request.safety_identifier,
        prompt_cache_key=request.prompt_cache_key,
    )


def _used(given: float | None, manifest: Manifest, name: str) -> float:
    """What a request says, or its model's default; 1 if the manifest has none, as clients expect a number."""
    defaults = [field.default for field in manifest.client_inputs if field.name == name and field.default is not None]
    return given if given is not None else float(defaults[0]) if defaults else 1.0


def _usage(count: TokenCount) -> dict[str, Any]:
    return {
        "input_tokens": count.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": count.tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": count.prompt_tokens + count.tokens,
    }
