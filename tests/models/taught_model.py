"""A tiny chat model that has learnt some answers by heart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
import transformers

from penstock_common.manifest import Generation, dump_manifest
from tests.unit.inference.runners.tiny_language_model import (
    END,
    INPUTS,
    TOOL_TEMPLATE,
    manifest,
    save_language_model,
)

_CONTEXT = 1024
_MOST_STEPS = 500
#: Mean loss of a token, in nats: below it the answer's tokens are by far the likeliest ones.
_LEARNT = 0.02


class Lesson(NamedTuple):
    """A conversation, with the tools that the model has in it, and what it then answers."""

    messages: Sequence[dict[str, Any]]
    answer: str
    tools: Sequence[dict[str, Any]] | None = None


def save_taught_model(artifact: Path, lessons: Iterable[Lesson]) -> str:
    """Write the model to a folder ``model`` in an artifact's; return its manifest, with greedy answers by default."""
    folder = save_language_model(artifact / "model", template=TOOL_TEMPLATE, max_position_embeddings=_CONTEXT)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    teach(model, [_example(tokenizer, lesson) for lesson in lessons])
    model.save_pretrained(folder)
    inputs = [msgspec.structs.replace(f, default=0.0) if f.name == "temperature" else f for f in INPUTS]
    return dump_manifest(manifest(Generation(cache_tokens=4 * _CONTEXT), inputs))


def _example(tokenizer: Any, lesson: Lesson) -> dict[str, torch.Tensor]:
    """The ids of a conversation, and the labels of those that the model is to learn."""
    prompt = tokenizer.apply_chat_template(
        lesson.messages, tools=lesson.tools, add_generation_prompt=True, tokenize=False
    )
    asked, answer = tokenizer(prompt)["input_ids"], tokenizer(lesson.answer + END)["input_ids"]
    return {
        "input_ids": torch.tensor([asked + answer]),
        "labels": torch.tensor([[-100] * len(asked) + answer]),
    }


def teach(model: Any, examples: Sequence[dict[str, torch.Tensor]]) -> None:
    """Train a model until it answers each of some batches of examples by heart."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(_MOST_STEPS):
        losses = [model(**example).loss for example in examples]
        if max(loss.item() for loss in losses) < _LEARNT:
            return
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    raise AssertionError(f"the model has not learnt its answers in {_MOST_STEPS} steps; the losses are {losses}")
