"""``response_format``: whatever a model would write, its answer is JSON of the form that was asked for."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from penstock_common.errors import PenstockError
from penstock_inference.runners import grammars
from penstock_inference.runners.answer_schema import MOST_LEVELS, MOST_SCHEMA_BYTES
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.grammars import Grammars
from penstock_inference.runners.runner import Chunk
from penstock_inference.runners.text_generation import TextGenerationRunner, load_streaming
from tests.unit.inference.runners.tiny_language_model import (
    INPUTS,
    OUTPUTS,
    chunks_of,
    joined,
    logprobs,
    manifest,
    output,
    row,
    save_language_model,
)

CONTEXT = 1024


def an_object(**properties: Any) -> dict[str, Any]:
    """A strict schema of an object."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


WORD = {"type": "string", "maxLength": 6}
SCHEMAS = {
    "flat": an_object(name=WORD, age={"type": "integer", "minimum": 0, "maximum": 120}, member={"type": "boolean"}),
    "nested": an_object(
        place=an_object(
            city={"enum": ["Wien", "東京", 'a "b"\\']}, code={"type": "string", "pattern": "^[A-Z]{2}[0-9]{3}$"}
        ),
        tags={"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
    ),
    "choices": an_object(
        either={
            "anyOf": [{"type": "null"}, {"type": "integer", "minimum": -5, "maximum": 5}, an_object(x={"const": 7})]
        }
    ),
    "references": {
        **an_object(first={"$ref": "#/$defs/day"}, second={"$ref": "#/$defs/day"}),
        "$defs": {"day": an_object(date={"type": "string", "format": "date"}, of={"enum": ["work", "rest"]})},
    },
}


def format_of(schema: dict[str, Any], *, strict: bool | None = True) -> str:
    return json.dumps({"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    save_language_model(folder / "model", max_position_embeddings=CONTEXT)
    return folder


@pytest.fixture(scope="module")
def runner(artifact: Path) -> TextGenerationRunner:
    return load_streaming(artifact / "model", manifest(), 1)


def finish(chunks: list[Chunk]) -> str:
    return str(output(chunks[-1], "finish_reason"))


def error_of(runner: TextGenerationRunner, **given: Any) -> PenstockError:
    """The error of a stream that has no chunk before it."""
    try:
        runner.open(1, row(**given))
    except PenstockError as err:
        error: Exception | None = err
    else:
        [chunk] = chunks_of(runner, 1)[1]
        error = chunk.error
    assert isinstance(error, PenstockError) and (error.status, error.code) == (422, "invalid-input"), error
    assert runner.step() == []
    return error


@pytest.mark.parametrize("name", SCHEMAS)
def test_random_weights_write_what_a_strict_schema_allows(runner: TextGenerationRunner, name: str) -> None:
    """Ten answers of each schema side by side, all valid and none cut."""
    schema = SCHEMAS[name]
    for seed in range(10):
        given = {"prompt": "The weir", "max_tokens": 400, "temperature": 1.0, "seed": seed}
        runner.open(seed, row(**given, response_format=format_of(schema)))
    answers = chunks_of(runner, *range(10))
    validator = jsonschema_rs.validator_for(schema)
    texts = [joined(answers[seed]) for seed in range(10)]
    assert all(finish(answers[seed]) == "stop" for seed in range(10)), texts
    assert all(validator.is_valid(json.loads(text)) for text in texts), texts
    assert len(set(texts)) > 1


def test_a_stream_beside_others_with_grammars_is_as_it_is_alone(runner: TextGenerationRunner) -> None:
    """One without a grammar, and one with another; each has its own mask."""
    plain = {"prompt": "The river", "max_tokens": 60, "temperature": 1.0, "seed": 3}
    flat = {**plain, "max_tokens": 300, "response_format": format_of(SCHEMAS["flat"])}
    nested = {**flat, "response_format": format_of(SCHEMAS["nested"])}
    alone = []
    for given in (plain, flat, nested):
        runner.open(1, row(**given))
        alone.append(joined(chunks_of(runner, 1)[1]))
    for i, given in enumerate((plain, flat, nested)):
        runner.open(i, row(**given))
    together = chunks_of(runner, 0, 1, 2)
    assert [joined(together[i]) for i in range(3)] == alone
    assert len(set(alone)) == 3


def test_greedy_and_narrowed_sampling_keep_the_grammar(runner: TextGenerationRunner) -> None:
    """``top_k`` and ``top_p`` count among the tokens that are allowed."""
    for options in ({"temperature": 0.0}, {"top_k": 1, "temperature": 1.0}, {"top_p": 0.01, "temperature": 1.5}):
        runner.open(
            1, row(prompt="r", max_tokens=300, seed=1, response_format=format_of(SCHEMAS["choices"]), **options)
        )
        chunks = chunks_of(runner, 1)[1]
        assert jsonschema_rs.validator_for(SCHEMAS["choices"]).is_valid(json.loads(joined(chunks)))


def test_an_answer_that_is_cut_says_so(runner: TextGenerationRunner) -> None:
    """It is the beginning of JSON, and its reason is ``length``."""
    runner.open(1, row(prompt="r", max_tokens=3, response_format=format_of(SCHEMAS["flat"])))
    chunks = chunks_of(runner, 1)[1]
    assert (finish(chunks), joined(chunks)[:1]) == ("length", "{")


def test_any_json_object(runner: TextGenerationRunner) -> None:
    """``json_object`` begins an object at once; one that ends is whole."""
    for seed in range(5):
        given = {"prompt": "r", "max_tokens": 300, "temperature": 3.0 / 2, "seed": seed}
        runner.open(seed, row(**given, response_format='{"type": "json_object"}'))
    for chunks in chunks_of(runner, *range(5)).values():
        text = joined(chunks)
        assert text.startswith("{")
        assert finish(chunks) == "length" or isinstance(json.loads(text), dict)


def test_any_text(runner: TextGenerationRunner) -> None:
    """``text`` is what there is without it."""
    texts = []
    for more in ({}, {"response_format": '{"type": "text"}'}):
        runner.open(1, row(prompt="The weir", max_tokens=20, **more))
        texts.append(joined(chunks_of(runner, 1)[1]))
    assert texts[0] == texts[1]


def test_log_probabilities_are_those_of_the_model_alone(runner: TextGenerationRunner) -> None:
    """Those of tokens that the grammar forbids are among the likeliest."""
    runner.open(1, row(prompt="The weir", max_tokens=1, response_format='{"type": "json_object"}', logprobs=1))
    [first] = logprobs(chunks_of(runner, 1)[1])
    assert first["token"].startswith("{")
    assert first["top_logprobs"][0]["logprob"] > first["logprob"]


def test_a_schema_that_is_not_strict_is_kept_as_far_as_it_goes(runner: TextGenerationRunner) -> None:
    """Keywords that no grammar has are ignored."""
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    odd = {**schema, "not": {"required": ["b"]}, "unevaluatedProperties": False}
    runner.open(
        1, row(prompt="r", max_tokens=300, temperature=1.0, seed=1, response_format=format_of(odd, strict=None))
    )
    assert jsonschema_rs.validator_for(schema).is_valid(json.loads(joined(chunks_of(runner, 1)[1])))


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("response_format", "texts"),
    [
        ("no JSON", ["malformed"]),
        ('{"type": "xml"}', ["xml"]),
        ('{"type": "json_schema"}', ["json_schema"]),
        (format_of([1]), ["not a JSON object"]),  # type: ignore[arg-type]
        (format_of(deep(MOST_LEVELS), strict=False), [str(MOST_LEVELS)]),
        (format_of({"description": "x" * MOST_SCHEMA_BYTES}), [str(MOST_SCHEMA_BYTES)]),
        (format_of({"type": "array", "items": WORD}), ["type is object"]),
        (format_of({**an_object(a=WORD), "additionalProperties": True}), ["schema: ", "additionalProperties"]),
        (format_of({**an_object(a=WORD, b=WORD), "required": ["a"]}), ["schema.required", "'b'"]),
        (
            format_of(an_object(a={"anyOf": [WORD, {"type": "object"}]})),
            ["properties.a.anyOf.1", "additionalProperties"],
        ),
        (format_of({**an_object(a=WORD), "$defs": {"d": {"properties": {}}}}), ["$defs.d", "additionalProperties"]),
        (format_of(an_object(a={**WORD, "not": {"const": "x"}})), ["not"]),
        (format_of(an_object(a={"type": "string", "format": "iban"})), ["iban"]),
        (format_of(an_object(a={"type": "string", "pattern": "(?=a)b"})), ["look"]),
        (format_of(an_object(a={"$ref": "#/$defs/nothing"})), ["nothing"]),
        (format_of(an_object(a={"$ref": "https://example.com/schema"})), ["example.com"]),
        (format_of({"type": "string", "minLength": 5, "maxLength": 2}, strict=False), ["minLength"]),
        (format_of({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, strict=False), ["none that fits"]),
    ],
)
def test_what_cannot_be_kept_is_refused_before_the_answer_begins(
    runner: TextGenerationRunner, response_format: str, texts: list[str]
) -> None:
    """With the name of the input and the reason."""
    detail = error_of(runner, prompt="r", response_format=response_format).detail
    assert detail.startswith("response_format") and all(text in detail for text in texts), detail
    assert len(detail) < 600


def test_a_model_whose_tokenizer_has_no_grammars_answers_other_requests(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is not of the library ``tokenizers``, for example."""

    def refuse(*args: Any, **options: Any) -> None:
        raise ValueError("Only fast tokenizers are supported")

    monkeypatch.setattr(grammars, "from_tokenizer", refuse)
    runner = load_streaming(artifact / "model", manifest(), 1)
    detail = error_of(runner, prompt="r", response_format='{"type": "json_object"}').detail
    assert detail.startswith("response_format: ") and "tokenizer" in detail
    runner.open(1, row(prompt="r", max_tokens=3))
    assert finish(chunks_of(runner, 1)[1]) == "length"


def test_a_grammar_that_is_being_made_holds_up_nobody(
    runner: TextGenerationRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others get their tokens meanwhile; a client that leaves meanwhile leaves nothing."""
    may_go_on = threading.Event()
    guide = Grammars._guide

    def slowly(self: Grammars, where: str, grammar: str) -> Any:
        assert may_go_on.wait(30)
        return guide(self, where, grammar)

    monkeypatch.setattr(Grammars, "_guide", slowly)
    asked = {
        "prompt": "r",
        "max_tokens": 300,
        "temperature": 1.0,
        "seed": 1,
        "response_format": format_of(SCHEMAS["flat"]),
    }
    runner.open(1, row(**asked))
    runner.open(2, row(**asked))
    runner.open(3, row(prompt="The weir", max_tokens=20))
    assert set(chunks_of(runner, 3)) == {3}
    assert runner.step() == []
    runner.close(2)
    may_go_on.set()
    rest = chunks_of(runner, 1, steps=100_000)
    assert set(rest) == {1} and json.loads(joined(rest[1]))
    assert runner.step() == []


async def test_a_confined_process_makes_grammars(artifact: Path) -> None:
    """Without files, a network or a compiler."""
    forker = Forker(run_seconds=30.0, load_seconds=120.0)
    try:
        process = await forker.start(manifest(), artifact, threads=1, memory_bytes=2**30)
        given = row(prompt="r", max_tokens=400, temperature=1.0, seed=1, response_format=format_of(SCHEMAS["nested"]))
        inputs = {field.name: array for field, array in zip(INPUTS, given, strict=True) if array is not None}
        stream = process.open_stream(inputs)
        text, last = "", False
        async with asyncio.timeout(60):
            while not last:
                outputs, last = await stream.read()
                assert outputs is not None
                text += outputs[[o.name for o in OUTPUTS].index("text")][0].decode()
        assert jsonschema_rs.validator_for(SCHEMAS["nested"]).is_valid(json.loads(text))
    finally:
        await forker.close()
