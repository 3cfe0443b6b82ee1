"""Calls of tools in each form that models have, by real chat templates: found, put into prompts, forced and read."""

# ruff: noqa: RUF001 - the marks of DeepSeek have wide bars

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from penstock_common.errors import PenstockError
from penstock_inference.runners.answer_grammar import AnswerGrammar, read_answer_grammar
from penstock_inference.runners.call_forms import FORMS, CallForm, call_form
from penstock_inference.runners.call_reader import CallReader
from penstock_inference.runners.chat_template import chat_prompt
from penstock_inference.runners.generated_stream import GeneratedStream
from penstock_inference.runners.generation_request import GenerationRequest
from penstock_inference.runners.grammars import grammars_of
from penstock_inference.runners.text_generation import load_streaming
from penstock_inference.runners.token_chooser import Sampling, TokenChoice
from tests.unit.inference.runners.tiny_language_model import (
    calls_of,
    chunks_of,
    joined,
    manifest,
    output,
    row,
    save_language_model,
)

DATA = Path(__file__).parents[3] / "data" / "chat_templates"
#: Special in the tokenizers of such models; those of DeepSeek are not.
SPECIAL = ["[TOOL_CALLS]", "[ARGS]", "<|tool_call|>", "<|/tool_call|>", "<|python_tag|>"]
#: As Llama 3.1 to 3.3 have it, in short.
LLAMA = (
    "{% if tools %}Respond in the format "
    '{"name": function name, "parameters": dictionary of argument name and its value}.'
    "{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
    "{% for message in messages %}<{{ message.role }}>"
    "{% if 'tool_calls' in message %}{% set call = message.tool_calls[0].function %}"
    '{{ \'{"name": "\' + call.name + \'", "parameters": \' }}{{ call.arguments | tojson }}{{ "}" }}'
    "{% else %}{{ message.content | trim }}{% endif %}{% endfor %}"
)
#: As vLLM's example for DeepSeek V3.1 has it, in short.
DEEPSEEK_V31 = (
    "{% if tools %}<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>tool_call_name<｜tool▁sep｜>tool_call_arguments"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>{{ tools | tojson }}{% endif %}"
    "{% for message in messages %}{{ message.content }}{% if message.tool_calls %}<｜tool▁calls▁begin｜>"
    "{% for call in message.tool_calls %}<｜tool▁call▁begin｜>{{ call.function.name }}<｜tool▁sep｜>"
    "{{ call.function.arguments | tojson }}<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>{% endif %}{% endfor %}"
)


#: As DeepSeek R1 and V3 have it, in short.
DEEPSEEK_R1 = (
    DEEPSEEK_V31.replace(
        "call▁begin｜>tool_call_name<｜tool▁sep｜>", "call▁begin｜>function<｜tool▁sep｜>tool_call_name"
    )
    .replace("{{ call.function.name }}<｜tool▁sep｜>", "function<｜tool▁sep｜>{{ call.function.name }}\n```json\n")
    .replace("| tojson }}<｜tool▁call▁end", "| tojson }}\n```<｜tool▁call▁end")
)


def real(name: str) -> str:
    return (DATA / f"{name}.jinja").read_text()


#: A template of each form, in the order of the forms.
TEMPLATES = [
    real("qwen2.5"),
    LLAMA,
    real("mistral-nemo"),
    real("mistral-nemo").replace("[TOOL_CALLS][", "[TOOL_CALLS] ["),
    real("mistral-small-3.2"),
    real("granite-3.3"),
    real("phi-4-mini"),
    DEEPSEEK_R1,
    DEEPSEEK_V31,
    real("qwen3-coder"),
]
NAMES = [
    "hermes",
    "llama",
    "mistral",
    "mistral-space",
    "mistral-args",
    "granite",
    "phi",
    "deepseek-r1",
    "deepseek-v3.1",
    "qwen3-coder",
]
each_form = pytest.mark.parametrize(
    ("template", "form"), [pytest.param(*pair, id=n) for n, *pair in zip(NAMES, TEMPLATES, FORMS, strict=True)]
)

ADD = {
    "type": "function",
    "function": {
        "name": "add-up",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"enum": [1, "}\\", {"b": "</tool_call>"}]}},
            "required": ["a"],
            "additionalProperties": False,
        },
    },
}
ARGUMENTS = '{"a": {"b": "</tool_call>"}}'
QUESTION = {"role": "user", "content": "Go"}
#: As OpenAI's clients send it: members that are null, and arguments before the name.
CALL = {"id": "abcdefgh1", "type": "function", "function": {"arguments": '{"a":1}', "name": "add-up"}}
CALLED = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]}
PLAIN = {"role": "assistant", "content": "Yes", "tool_calls": None}
ANSWER = {"role": "tool", "tool_call_id": "abcdefgh1", "content": "one"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer has the special tokens."""
    folder = tmp_path_factory.mktemp("artifact") / "model"
    save_language_model(folder, vocab_size=320, max_position_embeddings=8192)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([transformers.AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer(folder: Path, template: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    return tokenizer


def as_written(form: CallForm, arguments: str) -> str:
    """Arguments of one parameter as a model writes them."""
    if form.parameters is None:
        return arguments
    [(name, value)] = json.loads(arguments).items()
    return f"{form.parameters.before_name}{name}{form.parameters.before_value}{json.dumps(value)}{form.parameters.after_value}"


def call_text(form: CallForm, *names: str) -> str:
    """Calls as a model writes them."""
    called = [
        f"{form.before_name}{name}{form.before_arguments}{as_written(form, ARGUMENTS)}{form.after_arguments}"
        for name in names
    ]
    return form.opening + (form.between or "").join(called) + form.closing


@each_form
def test_the_template_says_the_form(tokenizer: Any, form: CallForm) -> None:
    """Whatever it has a call for: an example in its instructions, or the calls of the conversation."""
    assert call_form(tokenizer) is form


@each_form
def test_calls_and_answers_of_openai_clients_fit_the_template(tokenizer: Any, form: CallForm) -> None:
    """An earlier call stands in the prompt in the form in which the model is to write one."""
    messages = [QUESTION, PLAIN, QUESTION, CALLED, ANSWER]
    text = tokenizer.decode(chat_prompt(tokenizer, json.dumps(messages), json.dumps([ADD])))
    if form.name != "Granite 3":  # whose template leaves out earlier calls
        number = "[CALL_ID]abcdefgh1" if form.before_arguments == "[ARGS]" else ""  # which a model may leave out
        before = f"{form.opening}{form.before_name}add-up{number}{form.before_arguments}"
        assert before + as_written(form, '{"a": 1}') in text
    assert "one" in text and "None" not in text


@each_form
def test_random_weights_call_a_tool_if_they_have_to(folder: Path, template: str, form: CallForm) -> None:
    """In the model's own form, with arguments that fit, and with no text beside the calls."""
    runner = load_streaming(folder, manifest(), 1)
    runner._tokenizer.chat_template = template
    asked = {"messages": json.dumps([QUESTION]), "tools": json.dumps([ADD]), "temperature": 1.0, "max_tokens": 250}
    for seed in range(2):
        runner.open(seed, row(**asked, tool_choice='"required"', seed=seed))
    for chunks in chunks_of(runner, *range(2)).values():
        calls = calls_of(chunks)
        assert joined(chunks) == ""
        if output(chunks[-1], "finish_reason") == "length":
            calls.pop()
        assert all(call["name"] == "add-up" for call in calls)
        assert all(json.loads(call["arguments"])["a"] in (1, "}\\", {"b": "</tool_call>"}) for call in calls)
        assert all(len(call["id"]) == (9 if form.short_ids else 29) for call in calls)


@each_form
def test_a_model_that_may_call_is_free_until_it_does(tokenizer: Any, form: CallForm) -> None:
    """Text may come first, or alone; behind the beginning of a call, a tool has to be named."""
    grammars = grammars_of(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    assert grammars is not None
    grammar = read_answer_grammar({"tools": json.dumps([ADD]).encode()}, tokenizer)
    assert grammar is not None and grammar.calls is form

    def allowed(text: str) -> set[str]:
        guide = grammars.prepare("tools", grammar.text).result()
        for token in tokenizer(text)["input_ids"]:
            assert not guide.forbidden(len(tokenizer))[token], (text, tokenizer.decode([token]))
            guide.accept(token)
        return {tokenizer.decode([t]) for t in (~guide.forbidden(len(tokenizer))).nonzero().ravel().tolist()}

    end = tokenizer.eos_token
    lead = "Hm. " if form.opening else ""
    assert {"x", "{", end} <= allowed("") and {"x", "{", end} <= allowed("Hm {")
    assert allowed(f"{lead}{form.opening}{form.before_name}") == {"a"}
    assert end in allowed(lead + call_text(form, "add-up"))
    if form.between is not None:
        assert end in allowed(lead + call_text(form, "add-up", "add-up", "add-up"))


@each_form
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_read_in_pieces_of_any_size(form: CallForm, template: str, size: int) -> None:
    """With marks in the strings of arguments, and several in a row."""
    lead = "So <tool [TOOL <｜tool {" if form.opening else ""
    names = ["add-up"] if form.between is None else ["add-up", "x_1"]
    text = lead + call_text(form, *names)
    reader = CallReader(form, {})
    content, calls = "", [""] * len(names)
    for start in range(0, len(text), size):
        more, pieces = reader.add(text[start : start + size])
        content += more
        for piece in pieces:
            calls[piece["index"]] += piece.get("name", "") + piece["arguments"]
    assert (content + reader.rest(), calls) == (lead, [name + ARGUMENTS for name in names])


@each_form
def test_a_stream_has_text_then_calls(tokenizer: Any, form: CallForm) -> None:
    """Special tokens are read if they belong to the form, and are not part of the text."""
    request = GenerationRequest([1], None, Sampling(), [], "messages", AnswerGrammar("", "tools", form))
    stream = GeneratedStream(1, request, 1000, [tokenizer.eos_token_id], tokenizer)
    lead = "Hm. " if form.opening else ""
    written = f"{lead}{form.optional or lead}{call_text(form, 'add-up')}"
    chunks = [stream.add(TokenChoice(t)) for t in [*tokenizer(written)["input_ids"], tokenizer.eos_token_id]]
    found = [chunk for chunk in chunks if chunk is not None]
    [call] = calls_of(found)
    assert (joined(found), call["name"], call["arguments"]) == (lead * 2, "add-up", ARGUMENTS)
    assert output(found[-1], "finish_reason") == "tool_calls"


@pytest.mark.parametrize("text", ['{"name', 'A {"name": "x', '{"name": 1}', ' {"name": "'])
@pytest.mark.parametrize("size", [1, 1000])
def test_without_a_mark_only_a_whole_answer_is_a_call(text: str, size: int) -> None:
    """All else is text, and none of it is lost."""
    reader = CallReader(FORMS[NAMES.index("llama")], {})
    content = "".join([reader.add(text[start : start + size])[0] for start in range(0, len(text), size)])
    assert (content + reader.rest(), reader.called) == (text, False)


@pytest.mark.parametrize("template", [LLAMA])
def test_without_a_mark_an_answer_in_json_could_be_a_call(tokenizer: Any) -> None:
    """So a request that wants either is refused, and one that wants a call is not."""
    given = {"tools": json.dumps([ADD]).encode(), "response_format": b'{"type": "json_object"}'}
    with pytest.raises(PenstockError, match=r"response_format.*tool_choice"):
        read_answer_grammar(given, tokenizer)
    assert read_answer_grammar({**given, "tool_choice": b'"required"'}, tokenizer) is not None
