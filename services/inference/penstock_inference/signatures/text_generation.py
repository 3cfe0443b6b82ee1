"""Models that continue a text: all have the same inputs and outputs; what differs is how long a text they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Task
from penstock_inference.runners.runner import ModelMismatchError

#: Characters of a token, generously: longer texts would only be refused.
_CHARACTERS_OF_A_TOKEN = 8
_MESSAGES = '[{"role": "user", "content": "Say hello."}]'


def read_gguf(path: Path) -> FileSignature:
    """Return the signature of a GGUF file, from its header.

    Raises:
        ModelMismatchError: its architecture is none of those that ``transformers`` reads.
    """
    from transformers.integrations.gguf.reader import read_gguf_metadata
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    metadata, _ = read_gguf_metadata(str(path))
    architecture = str(metadata["general.architecture"])
    if architecture not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ModelMismatchError(
            f"{path.name} is a GGUF file of the architecture {architecture!r}; transformers reads "
            f"{', '.join(sorted(GGUF_SUPPORTED_ARCHITECTURES))}. Import the model's folder of Hugging Face instead."
        )
    context = int(metadata[f"{architecture}.context_length"])
    name = metadata.get("general.name") or architecture
    return signature(context, chat="tokenizer.chat_template" in metadata, description=f"{name}, a GGUF file")


def signature(context: int, *, chat: bool, description: str) -> FileSignature:
    """Return the signature of a model.

    Args:
        context: tokens that it reads, with those that it adds.
        chat: it has a chat template.
    """
    longest = _CHARACTERS_OF_A_TOKEN * context
    note = f"max_length is a guess, from the {context} tokens that the model reads"
    inputs = [_input("prompt", "BYTES", FieldKind.TEXT, max_length=longest, note=note)]
    if chat:
        inputs.append(_input("messages", "BYTES", FieldKind.TEXT, max_length=longest))
        inputs.append(_input("tools", "BYTES", FieldKind.TEXT, max_length=longest))
    inputs += [
        _input("max_tokens", "INT32", FieldKind.INTEGER),
        _input("temperature", "FP32", FieldKind.NUMBER),
        _input("top_p", "FP32", FieldKind.NUMBER),
        _input("top_k", "INT32", FieldKind.INTEGER),
        _input("seed", "INT64", FieldKind.INTEGER),
        _input("stop", "BYTES", FieldKind.TENSOR, shape=[-1]),
        _input("logprobs", "INT32", FieldKind.INTEGER),
    ]
    outputs = [
        FoundOutput("text", "BYTES", []),
        FoundOutput("tokens", "INT32", []),
        FoundOutput("finish_reason", "BYTES", []),
        FoundOutput("prompt_tokens", "INT32", []),
        FoundOutput("logprobs", "BYTES", []),
    ]
    example: dict[str, Any] = {"messages": _MESSAGES} if chat else {"prompt": "Hello"}
    return FileSignature(
        inputs,
        outputs,
        task=Task.GENERATION,
        description=description,
        examples=[{**example, "max_tokens": 8, "temperature": 0.0}],
    )


def _input(
    name: str,
    datatype: str,
    kind: FieldKind,
    *,
    shape: list[int] | None = None,
    max_length: int | None = None,
    note: str = "",
) -> FoundInput:
    return FoundInput(name, datatype, shape or [], kind, max_length=max_length, note=note, required=False)
