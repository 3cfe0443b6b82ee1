"""A model of causal language that is made in a moment: random weights, and a tokenizer of bytes and a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

from penstock_common import text_generation
from penstock_common.manifest import Field, Format, Generation, Manifest, Task
from penstock_inference.runners.runner import Chunk, StreamingRunner

TEXT = "The weir fills the penstock. Größe, naïve, 東京 and 🙂 🙂. The turbine turns; the river runs, the river runs."
END = "<|end|>"
CONTEXT = 128
TEMPLATE = (
    "{% for message in messages %}{% if message.role not in ['user', 'assistant', 'system'] %}"
    "{{ raise_exception('no role ' + message.role) }}{% endif %}"
    "[{{ message.role }}]{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
#: As Qwen2.5 has it, in short.
TOOL_TEMPLATE = (
    "{% if tools %}[tools]{% for tool in tools %}{{ tool | tojson }}{% endfor %}"
    'Answer with <tool_call>{"name": ..., "arguments": ...}</tool_call>.{% endif %}'
    "{% for message in messages %}[{{ message.role }}]{{ message.content }}"
    "{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
INPUTS, OUTPUTS = list(text_generation.INPUTS), list(text_generation.OUTPUTS)


def save_language_model(folder: Path, *, template: str | None = TEMPLATE, **config: Any) -> Path:
    """Write a folder of ``save_pretrained``; scores are far enough apart that rounding does not change the best."""
    torch.manual_seed(0)
    fast = byte_tokenizer()
    fast.chat_template = template
    fast.save_pretrained(folder)
    settings = transformers.LlamaConfig(
        **{
            "vocab_size": len(fast),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": CONTEXT,
            "initializer_range": 0.5,
            "bos_token_id": None,
            "eos_token_id": fast.eos_token_id,
            "dtype": "float32",
            **config,
        }
    )
    transformers.LlamaForCausalLM(settings).save_pretrained(folder)
    return folder


def byte_tokenizer(special: Mapping[str, str] | None = None) -> Any:
    """Return a tokenizer of ``transformers``, of bytes and a few words; ``special`` are further tokens by their names."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, extra_special_tokens=dict(special or {})
    )


def manifest(generation: Generation | None = None, inputs: list[Field] = INPUTS) -> Manifest:
    return Manifest(
        Format.TRANSFORMERS,
        "model",
        Task.GENERATION,
        inputs,
        OUTPUTS,
        stream=True,
        generation=generation,
        examples=[{"prompt": "The weir", "max_tokens": 4}],
    )


def row(**given: Any) -> list[NDArray[Any] | None]:
    """Return the inputs of a stream as the runner gets them, in the order of ``INPUTS``."""
    return [_array(field.datatype, given[field.name]) if field.name in given else None for field in INPUTS]


def _array(datatype: str, value: Any) -> NDArray[Any]:
    if datatype == "BYTES":
        texts = [value] if isinstance(value, str) else value
        array = np.empty(len(texts), np.object_)
        array[:] = [text.encode() for text in texts]
        return array if isinstance(value, str) else array[np.newaxis]
    return np.array([value], {"INT32": np.int32, "INT64": np.int64, "FP32": np.float32, "BOOL": np.bool_}[datatype])


def chunks_of(runner: StreamingRunner, *streams: int, steps: int = 1000) -> dict[int, list[Chunk]]:
    """Step until some streams have ended; return the chunks of all."""
    chunks: dict[int, list[Chunk]] = {}
    running = set(streams)
    for _ in range(steps):
        if not running:
            return chunks
        for chunk in runner.step():
            chunks.setdefault(chunk.stream, []).append(chunk)
            if chunk.last:
                running.discard(chunk.stream)
    raise AssertionError(f"streams {running} have not ended after {steps} steps")


def output(chunk: Chunk, name: str) -> Any:
    """Return an output of a chunk as Python has it."""
    assert chunk.error is None and isinstance(chunk.outputs, dict)
    value = chunk.outputs[name][0]
    return value.decode() if isinstance(value, bytes) else int(value)


def joined(chunks: list[Chunk]) -> str:
    return "".join([output(chunk, "text") for chunk in chunks])


def logprobs(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [entry for chunk in chunks for entry in json.loads(output(chunk, "logprobs"))]


def calls_of(chunks: list[Chunk]) -> list[dict[str, Any]]:
    """The calls whose pieces the chunks have, joined."""
    calls: dict[int, dict[str, Any]] = {}
    for piece in [piece for chunk in chunks for piece in json.loads(output(chunk, "tool_calls"))]:
        call = calls.setdefault(piece["index"], piece)
        if call is not piece:
            call["arguments"] += piece["arguments"]
    return list(calls.values())
