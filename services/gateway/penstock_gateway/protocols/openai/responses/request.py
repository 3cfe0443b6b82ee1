"""The request of ``/v1/responses``: what it may say, and what of it the model gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from penstock_gateway.protocols.openai.chat_request import ChatRequest, chat_inputs
from penstock_gateway.protocols.openai.generation import ModelInputs, Sampling, refuse_what_changes_meaning
from penstock_gateway.protocols.openai.pictures import Picture
from penstock_gateway.protocols.openai.request import Int64, ModelName
from penstock_gateway.protocols.openai.responses.forms import (
    TextFormats,
    ToolChoice,
    Tools,
    chat_format,
    chat_tool,
    chat_tool_choice,
)
from penstock_gateway.protocols.openai.responses.items import (
    InputText,
    Item,
    Message,
    SentItem,
    chat_messages,
    picture_places,
)

_LOGPROBS = "message.output_text.logprobs"

#: A text that only describes the request; the answer repeats it.
Label = Annotated[str, msgspec.Meta(max_length=512)]
Metadata = Annotated[
    dict[Annotated[str, msgspec.Meta(max_length=64)], Annotated[str, msgspec.Meta(max_length=512)]],
    msgspec.Meta(max_length=16),
]


class TextOptions(msgspec.Struct):
    format: TextFormats | None = None
    # A member that changes the answer, and that nothing here carries out.
    verbosity: msgspec.Raw = msgspec.Raw()


class Reasoning(msgspec.Struct):
    # Members that change the answer, and that nothing here carries out.
    effort: msgspec.Raw = msgspec.Raw()
    summary: msgspec.Raw = msgspec.Raw()
    generate_summary: msgspec.Raw = msgspec.Raw()
    mode: msgspec.Raw = msgspec.Raw()


class ResponsesRequest(Sampling, kw_only=True):
    """A body of ``/v1/responses``."""

    model: ModelName
    input: str | Annotated[list[SentItem], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    previous_response_id: Label | None = None
    max_output_tokens: Int64 | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    stream: bool | None = None
    store: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    metadata: Metadata | None = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Int64 | None = None
    # Members that change the answer, and that nothing here carries out.
    background: msgspec.Raw = msgspec.Raw()
    context_management: msgspec.Raw = msgspec.Raw()
    conversation: msgspec.Raw = msgspec.Raw()
    moderation: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    truncation: msgspec.Raw = msgspec.Raw()


_NEUTRAL: dict[str, Any] = {
    "background": False,
    "context_management": [],
    "conversation": None,
    "moderation": None,
    "prompt": None,
    "truncation": "disabled",
}
_NEUTRAL_TEXT: dict[str, Any] = {"verbosity": "medium"}
_NEUTRAL_REASONING: dict[str, Any] = {"effort": "none", "summary": None, "generate_summary": None, "mode": "standard"}


def model_inputs(request: ResponsesRequest, earlier: Sequence[Item], sent: Sequence[Item]) -> ModelInputs:
    """The model's inputs for a request: those of the same request to ``/v1/chat/completions``.

    Args:
        earlier: the items of the previous response.
        sent: those of this request.

    Raises:
        PenstockError: 400 ``invalid-request`` or ``unsupported-parameter``, naming the member.
    """
    refuse_what_changes_meaning(request, _NEUTRAL)
    if request.text is not None:
        refuse_what_changes_meaning(request.text, _NEUTRAL_TEXT, "text.")
    if request.reasoning is not None:
        refuse_what_changes_meaning(request.reasoning, _NEUTRAL_REASONING, "reasoning.")
    conversation = [*earlier, *sent]
    if request.instructions is not None:
        conversation.insert(0, Message("", "system", [InputText(request.instructions)]))
    sampling = {name: getattr(request, name) for name in Sampling.__struct_fields__}
    chat = ChatRequest(
        model=request.model,
        messages=chat_messages(conversation),
        max_completion_tokens=request.max_output_tokens,
        logprobs=bool(request.top_logprobs) or _LOGPROBS in (request.include or ()),
        top_logprobs=request.top_logprobs,
        tools=[chat_tool(tool) for tool in request.tools or ()],
        tool_choice=chat_tool_choice(request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls,
        response_format=chat_format(request.text.format) if request.text is not None else None,
        **sampling,
    )
    inputs = chat_inputs(chat)
    places = ["previous_response_id"] * len(picture_places(earlier)) + picture_places(sent)
    pictures = [Picture(place, "input_image", p.url) for place, p in zip(places, inputs.pictures, strict=True)]
    return ModelInputs(inputs.values, pictures)
