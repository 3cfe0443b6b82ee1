"""The grammar of calls of tools."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from penstock_common.chat_members import Tool
from penstock_inference.runners.answer_schema import read_schema, schema_rule
from penstock_inference.runners.call_forms import CallForm
from penstock_inference.runners.call_parameters import parameter_rules
from penstock_inference.runners.chat_template import invalid

_NO_PARAMETERS = b'{"type": "object", "properties": {}, "additionalProperties": false}'


def call_rules(
    form: CallForm, special: Mapping[str, int], tools: Sequence[Tool], *, several: bool, lead: bool
) -> list[str]:
    """Return the rules of a grammar of ``llguidance`` for ``calls`` of some tools, and for ``TEXT`` that is not a call.

    Args:
        special: the tokens that are special in the model's tokenizer, of those that the form has.
        several: one call may follow another.
        lead: any text may come before the first.

    Raises:
        PenstockError: 422 ``invalid-input``, which names the tool whose parameters are not a schema.
    """
    begin, *opening = _terminals(form.opening, special) or [""]
    rules = [r"TEXT: /(.|\n)*/"]
    if form.optional in special:
        begin = f"<[{special[form.optional]}]>?"
    if lead and not form.opening:
        rules = [rf"TEXT: /(.|\n)*/ & ~/{re.escape(form.before_name)}(.|\n)*/"]
    elif lead:
        rules += [f"{'lead' if begin.startswith('<') else 'lead[lazy]'}: TEXT {begin}"]
        begin = "lead"
    parts = [begin, *opening, "call"]
    if several and form.between is not None:
        parts += ["(", *_terminals(form.between, special), "call )*"]
    rules += [
        f"calls: {' '.join([*parts, *_terminals(form.closing, special)])}",
        "call: " + " | ".join(f"call_{i}" for i in range(len(tools))),
    ]
    for i, tool in enumerate(tools):
        function = tool.function
        where = f"tools.{i}.function.parameters"
        parameters = tool_schema(where, tool)
        strict = bool(function.strict)
        arguments = schema_rule(where, parameters, strict=strict)  # which is checked in any form
        before = _terminals(f"{form.before_name}{function.name}{form.before_arguments}", special)
        rules.append(f"call_{i}: {' '.join([*before, f'arguments_{i}', *_terminals(form.after_arguments, special)])}")
        if form.parameters is None:
            rules.append(f"arguments_{i}: {arguments}")
        else:
            rules += parameter_rules(f"arguments_{i}", form.parameters, where, parameters, strict=strict)
    return rules


def tool_schema(where: str, tool: Tool) -> dict[str, Any]:
    """Return the schema of a tool's arguments.

    Raises:
        PenstockError: 422 ``invalid-input`` if it is none.
    """
    schema = read_schema(where, bytes(tool.function.parameters) or _NO_PARAMETERS)
    if schema.setdefault("type", "object") != "object":
        raise invalid(f"{where}: the schema's type is object.")
    return schema


def _terminals(text: str, special: Mapping[str, int]) -> list[str]:
    """Return a text as terminals of a grammar: special tokens by their numbers, the rest quoted."""
    pieces = re.split(f"({'|'.join(map(re.escape, special))})", text) if special else [text]
    return [
        f"<[{special[piece]}]>" if piece in special else json.dumps(piece, ensure_ascii=False)
        for piece in pieces
        if piece
    ]
