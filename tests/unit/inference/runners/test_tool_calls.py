"""Tools: which a model may call, the grammar of its calls, and the calls that are read out of its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import transformers

from penstock_common.errors import PenstockError
from penstock_common.manifest import Output
from penstock_inference.runners.answer_grammar import AnswerGrammar, read_answer_grammar
from penstock_inference.runners.call_forms import HERMES, call_form
from penstock_inference.runners.call_reader import CallReader
from penstock_inference.runners.generated_stream import GeneratedStream
from penstock_inference.runners.generation_request import GenerationRequest
from penstock_inference.runners.grammars import Grammars, grammars_of
from penstock_inference.runners.runner import Chunk, ModelMismatchError
from penstock_inference.runners.text_generation import TextGenerationRunner, load_streaming
from penstock_inference.runners.token_chooser import Sampling, TokenChoice
from tests.unit.inference.runners.tiny_language_model import (
    OUTPUTS,
    TEMPLATE,
    TOOL_TEMPLATE,
    calls_of,
    chunks_of,
    joined,
    manifest,
    output,
    row,
    save_language_model,
)

MESSAGES = json.dumps([{"role": "user", "content": "Go"}])
CITY = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Wien", 'x"}</tool_call>']},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}


def tool(name: str, parameters: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": name, **({"parameters": parameters} if parameters else {}), **more},
    }


TOOLS = [tool("weather", CITY, strict=True), tool("time")]
PARAMETERS = {"weather": CITY, "time": {"type": "object", "maxProperties": 0}}
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / "model"
    return save_language_model(folder, template=TOOL_TEMPLATE, max_position_embeddings=2048)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def runner(folder: Path) -> TextGenerationRunner:
    return load_streaming(folder, manifest(), 1)


def asked(**more: Any) -> dict[str, Any]:
    """A request with the tools; its members as JSON."""
    given = {"messages": MESSAGES, "tools": json.dumps(TOOLS), "max_tokens": 600, "temperature": 1.0, **more}
    return given | {name: json.dumps(given[name]) for name in ("tool_choice", "response_format") if name in given}


def fits(call: dict[str, Any]) -> bool:
    return jsonschema_rs.validator_for(PARAMETERS[call["name"]]).is_valid(json.loads(call["arguments"]))


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_random_weights_call_a_tool_if_they_have_to(runner: TextGenerationRunner, choice: Any) -> None:
    """With arguments that fit its parameters, and no text beside the call."""
    for seed in range(5):
        runner.open(seed, row(**asked(tool_choice=choice, seed=seed, parallel_tool_calls=False)))
    names = set()
    for chunks in chunks_of(runner, *range(5)).values():
        [call] = calls_of(chunks)
        assert fits(call) and call["id"].startswith("call_")
        assert (joined(chunks), output(chunks[-1], "finish_reason")) == ("", "tool_calls")
        names.add(call["name"])
    assert choice != NAMED or names == {"weather"}


def test_several_calls_follow_each_other(runner: TextGenerationRunner) -> None:
    """Each with an index and an id of its own; the last may be cut."""
    for seed in range(8):
        runner.open(seed, row(**asked(tool_choice="required", seed=seed)))
    most = 0
    for chunks in chunks_of(runner, *range(8)).values():
        calls = calls_of(chunks)
        assert [call["index"] for call in calls] == list(range(len(calls)))
        assert len({call["id"] for call in calls}) == len(calls)
        assert all(fits(call) for call in calls[:-1])
        most = max(most, len(calls))
    assert most > 1


def test_a_call_that_is_cut_says_so(runner: TextGenerationRunner) -> None:
    """What there is of its arguments has come, and the reason is ``length``."""
    runner.open(1, row(**asked(tool_choice=NAMED, max_tokens=48)))
    chunks = chunks_of(runner, 1)[1]
    assert output(chunks[-1], "finish_reason") == "length"
    [call] = calls_of(chunks)
    assert call["name"] == "weather" and len(call["arguments"]) < 15


def test_without_a_choice_to_call_the_tools_are_not_there(runner: TextGenerationRunner) -> None:
    """``none`` gives the text that a request without tools gets."""
    texts = []
    for more in (asked(tool_choice="none"), {"messages": MESSAGES, "temperature": 1.0}):
        runner.open(1, row(**{**more, "max_tokens": 40, "seed": 5}))
        texts.append(joined(chunks_of(runner, 1)[1]))
    assert texts[0] == texts[1]


def test_a_stop_ends_no_call(runner: TextGenerationRunner) -> None:
    """It is looked for in the text beside the calls."""
    runner.open(1, row(**asked(tool_choice=NAMED, parallel_tool_calls=False, stop=['"', "{"])))
    chunks = chunks_of(runner, 1)[1]
    assert fits(calls_of(chunks)[0]) and output(chunks[-1], "finish_reason") == "tool_calls"


@pytest.fixture(scope="module")
def grammars(tokenizer: Any) -> Grammars:
    made = grammars_of(tokenizer, len(tokenizer), [tokenizer.eos_token_id])
    assert made is not None
    return made


def written(grammars: Grammars, tokenizer: Any, text: str, **given: Any) -> tuple[bool, set[str]]:
    """What the grammar of a request says behind a text: whether it has ended, and the tokens that may follow."""
    members = {name: value.encode() if isinstance(value, str) else value for name, value in asked(**given).items()}
    grammar = read_answer_grammar(members, tokenizer)
    assert grammar is not None and grammar.calls is HERMES
    guide = grammars.prepare(grammar.source, grammar.text).result()
    ended = False
    for token in tokenizer(text)["input_ids"]:
        assert not guide.forbidden(len(tokenizer))[token], (text, tokenizer.decode([token]))
        ended = guide.accept(token)
    allowed = (~guide.forbidden(len(tokenizer))).nonzero().ravel().tolist()
    return ended, {tokenizer.decode([token]) for token in allowed}


CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Wien", "days": 3}}\n</tool_call>'


def test_a_model_that_may_call_is_free_until_it_does(grammars: Grammars, tokenizer: Any) -> None:
    """Behind the mark of a call, it has to name a tool; behind the call, it can end or call again."""
    end = tokenizer.eos_token
    for text in ("", "Let me <tool", 'I like {"name": '):
        ended, allowed = written(grammars, tokenizer, text)
        assert not ended and {"x", "\n", end} <= allowed
    assert written(grammars, tokenizer, "Let me see.\n<tool_call>") == (False, {"\n"})
    assert written(grammars, tokenizer, '<tool_call>\n{"name": "')[1] <= {"w", "we", "t", "ti"}
    assert written(grammars, tokenizer, CALL) == (False, {"\n", end})
    assert written(grammars, tokenizer, f"{CALL}\n{CALL}")[1] == {"\n", end}
    assert written(grammars, tokenizer, CALL, parallel_tool_calls=False)[0]


def test_an_answer_is_of_the_format_or_a_call(grammars: Grammars, tokenizer: Any) -> None:
    """If the request has both."""
    given = {"response_format": {"type": "json_object"}}
    assert written(grammars, tokenizer, "", **given)[1] == {"{", "<"}
    assert not written(grammars, tokenizer, CALL, **given)[0]
    assert written(grammars, tokenizer, '{"a": 1}', **given)[0]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_calls_are_read_in_pieces_of_any_size(size: int) -> None:
    """Text before them, brackets and marks in their strings, and several in a row."""
    arguments = ['{"a": "x}</tool_call>\\"{", "b": [{}, []]}', "{}"]
    text = "So: <tool <tool_call>" + "\n<tool_call>".join(
        [f'\n{{"name": "f{i}", "arguments": {a}}}\n</tool_call>' for i, a in enumerate(arguments)]
    )
    reader = CallReader(HERMES, {})
    content, calls = "", [""] * 2
    for start in range(0, len(text), size):
        more, pieces = reader.add(text[start : start + size])
        content += more
        for piece in pieces:
            calls[piece["index"]] += piece.get("name", "") + piece["arguments"]
    assert (content + reader.rest(), calls) == ("So: <tool ", [f"f{i}{a}" for i, a in enumerate(arguments)])


@pytest.mark.parametrize(
    ("written", "stop", "text", "reason", "calls"),
    [
        (f"Hi.{CALL}", [], "Hi.", "tool_calls", 1),
        ("Hi. <tool", [], "Hi. <tool", "stop", 0),
        ("Hi. <tool", ["<tool"], "Hi. ", "stop", 0),
        (f"Hi.{CALL}", ["."], "Hi", "stop", 0),
        (f"Hi.{CALL}", [".!", "Wien"], "Hi.", "tool_calls", 1),
    ],
)
def test_a_stream_has_text_or_calls(
    tokenizer: Any, written: str, stop: list[str], text: str, reason: str, calls: int
) -> None:
    """And says which it ended with; a stop counts in the text alone."""
    request = GenerationRequest([1], None, Sampling(), stop, "messages", AnswerGrammar("", "tools", HERMES))
    stream = GeneratedStream(1, request, 1000, [tokenizer.eos_token_id], tokenizer)
    chunks: list[Chunk] = []
    for token in [*tokenizer(written)["input_ids"], tokenizer.eos_token_id]:
        chunk = stream.add(TokenChoice(token))
        chunks += [chunk] if chunk is not None else []
        if chunks and chunks[-1].last:
            break
    assert (joined(chunks), output(chunks[-1], "finish_reason"), len(calls_of(chunks))) == (text, reason, calls)


def test_text_that_only_looks_like_a_call_is_not_lost() -> None:
    """The beginning of a mark comes at the end."""
    reader = CallReader(HERMES, {})
    assert (reader.add("a <tool"), reader.rest(), reader.called) == (("a ", []), "<tool", False)


def test_calls_and_their_answers_are_put_into_the_template(tokenizer: Any, runner: TextGenerationRunner) -> None:
    """As a conversation goes on after a call: arguments are objects there."""
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Wien"}'}}
    messages = [
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "Sun", "tool_call_id": "1"},
    ]
    runner.open(1, row(messages=json.dumps(messages), max_tokens=1))
    [chunk] = chunks_of(runner, 1)[1]
    text = '[user]Go[assistant]<tool_call>{"name": "weather", "arguments": {"city": "Wien"}}</tool_call>[tool]Sun[assistant]'
    assert output(chunk, "prompt_tokens") == len(tokenizer(text)["input_ids"])


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        ({"tools": "{}"}, ["tools: "]),
        ({"tools": json.dumps([tool("a b")])}, ["tools: ", "name"]),
        ({"tools": json.dumps([{"type": "custom"}])}, ["tools: ", "custom"]),
        ({"tools": json.dumps([tool(f"t{i}") for i in range(129)])}, ["tools: ", "128"]),
        ({"tools": json.dumps([tool("f", {"type": "string"})])}, ["tools.0.function.parameters: ", "object"]),
        (
            {"tools": json.dumps([tool("f", {"type": "object"}, strict=True)])},
            ["tools.0.function.parameters", "strict"],
        ),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, ["tool_choice: ", "'f'"]),
        ({"tool_choice": "perhaps"}, ["tool_choice: ", "perhaps"]),
        ({"tool_choice": "required", "tools": "[]"}, ["tool"]),
    ],
)
def test_what_makes_no_sense_is_refused(runner: TextGenerationRunner, given: dict[str, Any], texts: list[str]) -> None:
    """For that stream alone, naming the input."""
    with pytest.raises(PenstockError) as raised:
        runner.open(1, row(**asked(**given)))
    assert all(text in raised.value.detail for text in texts), raised.value.detail


@pytest.mark.parametrize(
    ("template", "refusal"),
    [
        (TOOL_TEMPLATE, ""),
        (TEMPLATE, "does not know tools"),
        (TOOL_TEMPLATE.replace("tool_call>", "call>"), "not known here"),
        ("{{ raise_exception('no') }}", "does not know tools"),
    ],
)
def test_the_template_says_whether_a_model_knows_tools(tokenizer: Any, template: str, refusal: str) -> None:
    """And in which form it calls them."""
    other = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<|end|>")
    other.chat_template = template
    found = call_form(other)
    assert refusal in found if isinstance(found, str) else (found, refusal) == (HERMES, "")


def test_a_model_that_takes_tools_gives_calls(folder: Path) -> None:
    """A manifest with the input and without the output is refused."""
    own = manifest()
    own.outputs = [Output(o.name, o.datatype) for o in OUTPUTS if o.name != "tool_calls"]
    with pytest.raises(ModelMismatchError, match="tool_calls"):
        load_streaming(folder, own, 1)
