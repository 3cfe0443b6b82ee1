"""Arguments that a model writes parameter by parameter: what it may write of a schema, and the JSON that it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from penstock_common.errors import PenstockError
from penstock_inference.runners.answer_grammar import read_answer_grammar
from penstock_inference.runners.call_forms import FORMS
from penstock_inference.runners.call_reader import CallReader
from penstock_inference.runners.grammars import Grammars, grammars_of
from tests.unit.inference.runners.tiny_language_model import save_language_model

TEMPLATE = Path(__file__).parents[3] / "data" / "chat_templates" / "qwen3-coder.jinja"
[FORM] = [form for form in FORMS if form.parameters is not None]
SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "mode": {"type": "string", "enum": ["r", "w"]},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "note": {"type": "string"},
    },
    "required": ["path", "lines"],
    "$defs": {"line": {"type": "integer", "minimum": 7, "maximum": 9}},
}
CALL = "<tool_call>\n<function=read>\n"
END = "</function>\n</tool_call>"


def parameter(name: str, value: str) -> str:
    return f"<parameter={name}>\n{value}\n</parameter>\n"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_language_model(tmp_path_factory.mktemp("artifact") / "model", template=TEMPLATE.read_text())
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def grammars(tokenizer: Any) -> Grammars:
    made = grammars_of(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    assert made is not None
    return made


def request(schema: dict[str, Any] | None, **function: Any) -> dict[str, Any]:
    given = {"name": "read", **({} if schema is None else {"parameters": schema}), **function}
    tools = json.dumps([{"type": "function", "function": given}])
    return {"tools": tools.encode(), "tool_choice": b'"required"', "parallel_tool_calls": False}


def fits(grammars: Grammars, tokenizer: Any, text: str, schema: dict[str, Any] | None = SCHEMA) -> bool:
    """Whether a text is a whole answer; an answer that only begins with it is none."""
    grammar = read_answer_grammar(request(schema), tokenizer)
    assert grammar is not None
    guide = grammars.prepare(grammar.source, grammar.text).result()
    ended = False
    for token in tokenizer(text)["input_ids"]:
        if guide.forbidden(len(tokenizer))[token]:
            return False
        ended = guide.accept(token)
    return ended


@pytest.mark.parametrize(
    ("written", "right"),
    [
        (parameter("path", "a.py") + parameter("lines", "[7, 9]"), True),
        (parameter("path", '"\n</tool_call>\\ <é') + parameter("lines", "[]") + parameter("note", ""), True),
        (parameter("path", "a") + parameter("mode", "w") + parameter("lines", "[]"), True),
        (parameter("path", "a") + parameter("mode", "x") + parameter("lines", "[]"), False),
        (parameter("path", "a") + parameter("lines", "[6]"), False),
        (parameter("path", "a") + parameter("lines", "7"), False),
        (parameter("path", "a"), False),
        (parameter("lines", "[]") + parameter("path", "a"), False),
        (parameter("path", "a") + parameter("lines", "[]") + parameter("other", "1"), False),
    ],
)
def test_parameters_fit_the_schema(grammars: Grammars, tokenizer: Any, written: str, right: bool) -> None:
    """In its order; a text is written as it is, and what is not required may be absent."""
    assert fits(grammars, tokenizer, CALL + written + END) is right


def test_a_tool_without_parameters_is_called_without_any(grammars: Grammars, tokenizer: Any) -> None:
    """Whether its schema is empty or absent."""
    for schema in (None, {"type": "object", "properties": {}}):
        assert fits(grammars, tokenizer, CALL + END, schema)
        assert not fits(grammars, tokenizer, CALL + parameter("a", "1") + END, schema)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_parameters_become_json(tokenizer: Any, size: int) -> None:
    """In pieces of any size, of several calls; texts are quoted, and all else stays as it is."""
    grammar = read_answer_grammar(request(SCHEMA), tokenizer)
    assert grammar is not None and grammar.calls is FORM
    path = 'C:\\x\n"</parameter>"\n<parameter=lines>\n é'
    first = CALL + parameter("path", path) + parameter("lines", "[7,\n 8]") + parameter("note", "5") + END
    second = CALL + parameter("path", "") + parameter("lines", "[]") + END
    text = f"I read.\n{first}\n{second}\n<tool_call>\n<function=time>\n{END}"
    reader = CallReader(grammar.calls, grammar.texts)
    content, calls = "", [["", ""] for _ in range(3)]
    for start in range(0, len(text), size):
        more, pieces = reader.add(text[start : start + size])
        content += more
        for piece in pieces:
            calls[piece["index"]][0] += piece.get("name", "")
            calls[piece["index"]][1] += piece["arguments"]
    assert content == "I read.\n"
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [
        ("read", {"path": path, "lines": [7, 8], "note": "5"}),
        ("read", {"path": "", "lines": []}),
        ("time", {}),
    ]


@pytest.mark.parametrize(
    ("schema", "strict", "reason"),
    [
        ({"type": "object", "anyOf": [{"required": ["a"]}]}, False, "list them in properties"),
        ({"type": "object", "properties": []}, False, "properties is an object"),
        ({"type": "object", "properties": {}, "required": True}, False, "required is a list"),
        ({"type": "object", "properties": {"a>b": {"type": "string"}}}, False, "'a>b'"),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string", "pattern": "^x"}},
                "required": ["a"],
                "additionalProperties": False,
            },
            True,
            "a.pattern: cannot be kept",
        ),
    ],
)
def test_a_schema_that_cannot_be_written_so_is_refused(
    tokenizer: Any, schema: dict[str, Any], strict: bool, reason: str
) -> None:
    """Naming the tool and the keyword."""
    with pytest.raises(PenstockError, match=r"^tools\.0\.function\.parameters") as caught:
        read_answer_grammar(request(schema, strict=strict), tokenizer)
    assert reason in caught.value.detail
