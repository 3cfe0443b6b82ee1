"""Forms in which models write calls of tools, and which of them a chat template has."""

# ruff: noqa: RUF001 - the marks of DeepSeek have wide bars

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_PROBE = "penstock_probe"
_TOOL = {
    "type": "function",
    "function": {
        "name": _PROBE,
        "description": "Probe.",
        "parameters": {"type": "object", "properties": {"probed": {"type": "integer"}}},
    },
}
_QUESTION = {"role": "user", "content": "."}
_CALL = {"id": "probe0000", "type": "function", "function": {"name": _PROBE, "arguments": {"probed": 1}}}
_ANSWER = {"role": "tool", "tool_call_id": "probe0000", "name": _PROBE, "content": "1"}


@dataclass(frozen=True, slots=True)
class ParameterForm:
    """The texts around the names and values of a call's arguments, if these are not one JSON object."""

    before_name: str
    before_value: str
    after_value: str


@dataclass(frozen=True, slots=True)
class CallForm:
    """The texts around the names and arguments of calls.

    Attributes:
        name: for errors.
        written: a pattern of what a template of this form writes for a conversation with a call of ``penstock_probe``.
        opening: before the first call. If it is empty, a call is the whole answer.
        before_name, before_arguments, after_arguments: of each call.
        parameters: how its arguments are written; None for a JSON object.
        between: two calls; None if an answer has only one.
        closing: behind the last call.
        optional: a special token that may come before a call.
        short_ids: templates take only ids of nine letters and digits.
    """

    name: str
    written: str
    opening: str
    before_name: str
    before_arguments: str
    after_arguments: str
    between: str | None
    closing: str = ""
    optional: str = ""
    short_ids: bool = False
    parameters: ParameterForm | None = None

    def special_tokens(self, tokenizer: Any) -> dict[str, int]:
        """Return the special tokens among the form's texts.

        Args:
            tokenizer: of ``transformers``.
        """
        texts = (self.opening, self.before_arguments, self.after_arguments, self.between or "", self.closing)
        added = {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        return {
            token: number for token, number in added.items() if token == self.optional or any(token in t for t in texts)
        }


_NAME, _ARGUMENTS = '{"name": "', '", "arguments": '
_DEEPSEEK_CALL, _DEEPSEEK_SEPARATOR = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"

HERMES = CallForm(
    "Hermes and Qwen",
    r'<tool_call>\s*\{"name":',
    "<tool_call>",
    f"\n{_NAME}",
    _ARGUMENTS,
    "}\n</tool_call>",
    "\n<tool_call>",
)
#: The first whose pattern is found is a template's.
FORMS = (
    HERMES,
    CallForm(
        "Llama 3",
        r'\{"name": "penstock_probe", "parameters": \{"probed"',
        "",
        _NAME,
        '", "parameters": ',
        "}",
        None,
        optional="<|python_tag|>",
    ),
    *(
        CallForm(
            "Mistral",
            rf'\[TOOL_CALLS\]{space}\[\{{"name": "penstock_probe"',
            f"[TOOL_CALLS]{space}[",
            _NAME,
            _ARGUMENTS,
            "}",
            ", ",
            "]",
            short_ids=True,
        )
        for space in ("", " ")
    ),
    CallForm(
        "Mistral with [ARGS]",
        r"\[TOOL_CALLS\]penstock_probe.*\[ARGS\]",
        "[TOOL_CALLS]",
        "",
        "[ARGS]",
        "",
        "[TOOL_CALLS]",
        short_ids=True,
    ),
    CallForm(
        "Granite 3",
        r"<\|tool_call\|> followed by a JSON list",
        "<|tool_call|>",
        f"[{_NAME}",
        _ARGUMENTS,
        "}",
        ", ",
        "]",
    ),
    CallForm(
        "Phi 4",
        r'<\|tool_call\|>\s*\{"name":',
        "<|tool_call|>",
        _NAME,
        _ARGUMENTS,
        "}<|/tool_call|>",
        "<|tool_call|>",
    ),
    CallForm(
        "DeepSeek R1 and V3",
        rf"{_DEEPSEEK_CALL}function{_DEEPSEEK_SEPARATOR}",
        f"<｜tool▁calls▁begin｜>{_DEEPSEEK_CALL}function{_DEEPSEEK_SEPARATOR}",
        "",
        "\n```json\n",
        "\n```<｜tool▁call▁end｜>",
        f"\n{_DEEPSEEK_CALL}function{_DEEPSEEK_SEPARATOR}",
        "<｜tool▁calls▁end｜>",
    ),
    CallForm(
        "DeepSeek V3.1",
        rf"{_DEEPSEEK_CALL}penstock_probe{_DEEPSEEK_SEPARATOR}",
        f"<｜tool▁calls▁begin｜>{_DEEPSEEK_CALL}",
        "",
        _DEEPSEEK_SEPARATOR,
        "<｜tool▁call▁end｜>",
        _DEEPSEEK_CALL,
        "<｜tool▁calls▁end｜>",
    ),
    CallForm(
        "Qwen3-Coder",
        r"<tool_call>\s*<function=",
        "<tool_call>",
        "\n<function=",
        ">\n",
        "</function>\n</tool_call>",
        "\n<tool_call>",
        parameters=ParameterForm("<parameter=", ">\n", "\n</parameter>\n"),
    ),
)


def call_form(tokenizer: Any) -> CallForm | str:
    """Return how a model writes calls, from what its chat template writes; or why it cannot call.

    Args:
        tokenizer: of ``transformers``, with a chat template.
    """
    written = _written(tokenizer, [_QUESTION])
    if _PROBE not in written:
        return "the model's chat template does not know tools"
    written += _written(tokenizer, [_QUESTION, {"role": "assistant", "content": "", "tool_calls": [_CALL]}, _ANSWER])
    for form in FORMS:
        if re.search(form.written, written):
            return form
    known = ", ".join(dict.fromkeys(form.name for form in FORMS))
    return f"the model's chat template has calls in a form that is not known here; those of {known} are"


def _written(tokenizer: Any, messages: list[dict[str, Any]]) -> str:
    try:
        return str(tokenizer.apply_chat_template(messages, tools=[_TOOL], tokenize=False))
    except Exception:  # whatever the template raises
        return ""
