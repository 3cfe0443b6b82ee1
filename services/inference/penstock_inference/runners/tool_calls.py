"""Calls of tools, in the form of Hermes and Qwen: ``<tool_call>``, JSON with a name and arguments, ``</tool_call>``.

A chat template says which form its model writes; see ``tools_refusal``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from penstock_common.chat_members import Tool
from penstock_inference.runners.answer_schema import read_schema, schema_rule
from penstock_inference.runners.chat_template import invalid

OPEN, CLOSE = "<tool_call>", "</tool_call>"
#: What stands before a call's name, before its arguments and behind them; the template of Qwen2.5 has the same.
BEFORE_NAME, BEFORE_ARGUMENTS, AFTER_ARGUMENTS = '\n{"name": "', '", "arguments": ', f"}}\n{CLOSE}"
_BETWEEN_CALLS = f"\n{OPEN}"

_NO_PARAMETERS = b'{"type": "object", "properties": {}, "additionalProperties": false}'

_PROBE = {
    "type": "function",
    "function": {"name": "penstock_probe", "description": "", "parameters": {"type": "object", "properties": {}}},
}


def tools_refusal(tokenizer: Any) -> str:
    """Return why a model's calls of tools could not be read; empty if they can.

    Args:
        tokenizer: of ``transformers``, with a chat template.
    """
    message = [{"role": "user", "content": "."}]
    try:
        written = str(tokenizer.apply_chat_template(message, tools=[_PROBE], tokenize=False))
        template = str(tokenizer.get_chat_template(tools=[_PROBE]))
    except Exception:  # whatever the template raises
        written = template = ""
    if "penstock_probe" not in written:
        return "the model's chat template does not know tools"
    hidden = {str(token) for token in tokenizer.all_special_tokens}
    if OPEN not in template or "arguments" not in template or "<function=" in template or OPEN in hidden:
        return f"the model's chat template has calls in a form that is not known here; {OPEN}JSON{CLOSE} is"
    return ""


def call_rules(tools: Sequence[Tool], *, several: bool, lead: bool) -> list[str]:
    """Return the rules of a grammar of ``llguidance`` for ``calls`` of some tools.

    Args:
        several: one call may follow another.
        lead: any text may come before the first.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the tool whose parameters are no schema.
    """
    rules = [
        f"calls: {'lead' if lead else _quoted(OPEN)} call" + (f" ({_quoted(_BETWEEN_CALLS)} call)*" if several else ""),
        "call: " + " | ".join(f"call_{i}" for i in range(len(tools))),
    ]
    if lead:
        rules += [f"lead[lazy]: TEXT {_quoted(OPEN)}"]
    for i, tool in enumerate(tools):
        function = tool.function
        where = f"tools.{i}.function.parameters"
        parameters = read_schema(where, bytes(function.parameters) or _NO_PARAMETERS)
        if parameters.setdefault("type", "object") != "object":
            raise invalid(f"{where}: the schema's type is object.")
        begin = _quoted(f"{BEFORE_NAME}{function.name}{BEFORE_ARGUMENTS}")
        rules += [
            f"call_{i}: {begin} arguments_{i} {_quoted(AFTER_ARGUMENTS)}",
            f"arguments_{i}: {schema_rule(where, parameters, strict=bool(function.strict))}",
        ]
    return rules


def _quoted(text: str) -> str:
    return json.dumps(text)
