"""The well-known inputs and outputs of a model that generates text (docs/model-format.md, "Text generation")."""

from __future__ import annotations

from penstock_common.manifest import Field, FieldKind, Output

#: All inputs of models that read texts alone, none of them required.
INPUTS = (
    Field("prompt", FieldKind.TEXT, "BYTES", required=False),
    Field("messages", FieldKind.TEXT, "BYTES", required=False),
    Field("tools", FieldKind.TEXT, "BYTES", required=False),
    Field("max_tokens", FieldKind.INTEGER, "INT32", required=False),
    Field("temperature", FieldKind.NUMBER, "FP32", required=False),
    Field("top_p", FieldKind.NUMBER, "FP32", required=False),
    Field("top_k", FieldKind.INTEGER, "INT32", required=False),
    Field("presence_penalty", FieldKind.NUMBER, "FP32", required=False),
    Field("frequency_penalty", FieldKind.NUMBER, "FP32", required=False),
    Field("logit_bias", FieldKind.TEXT, "BYTES", required=False),
    Field("seed", FieldKind.INTEGER, "INT64", required=False),
    Field("stop", FieldKind.TENSOR, "BYTES", shape=[-1], required=False),
    Field("logprobs", FieldKind.INTEGER, "INT32", required=False),
    Field("response_format", FieldKind.TEXT, "BYTES", required=False),
    Field("tool_choice", FieldKind.TEXT, "BYTES", required=False),
    Field("parallel_tool_calls", FieldKind.BOOLEAN, "BOOL", required=False),
)
#: A further one, of models that see: the pictures of the messages, in their order.
IMAGES = Field("images", FieldKind.IMAGE, "BYTES", shape=[-1], required=False, max_elements=16)
#: Of a chunk.
OUTPUTS = (
    Output("text", "BYTES"),
    Output("tokens", "INT32"),
    Output("finish_reason", "BYTES"),
    Output("prompt_tokens", "INT32"),
    Output("logprobs", "BYTES"),
    Output("tool_calls", "BYTES"),
)
#: Inputs and outputs of models whose chat template knows tools.
OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "tool_calls")
