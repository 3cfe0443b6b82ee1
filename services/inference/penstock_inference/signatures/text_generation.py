"""Models that continue a text: all have the same inputs and outputs; what differs is how long a text they read."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

from penstock_common import text_generation
from penstock_common.dimensions import wire_shape
from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Task
from penstock_inference.runners.runner import ModelMismatchError

#: Characters of a token, generously: longer texts would only be refused.
_CHARACTERS_OF_A_TOKEN = 8
#: Inputs and outputs for which a chat template is needed.
_OF_CHAT = ("messages", *text_generation.OF_TOOLS)
_MESSAGES = '[{"role": "user", "content": "Say hello."}]'
_MESSAGES_WITH_PICTURE = json.dumps(
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}]
)


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


def signature(context: int, *, chat: bool, description: str, sees: bool = False) -> FileSignature:
    """Return the signature of a model.

    Args:
        context: tokens that it reads, with those that it adds.
        chat: it has a chat template.
        sees: it reads pictures in messages.
    """
    longest = _CHARACTERS_OF_A_TOKEN * context
    note = f"max_length is a guess, from the {context} tokens that the model reads"
    inputs = [
        FoundInput(
            field.name,
            field.datatype,
            wire_shape(field.shape, batch=False),
            field.kind,
            max_length=longest if field.kind is FieldKind.TEXT else None,
            max_elements=field.max_elements,
            note=note if field.name == "prompt" else "",
            required=False,
        )
        for field in (*text_generation.INPUTS, *([text_generation.IMAGES] if sees else []))
        if chat or field.name not in _OF_CHAT
    ]
    outputs = [
        FoundOutput(output.name, output.datatype, [])
        for output in text_generation.OUTPUTS
        if chat or output.name not in _OF_CHAT
    ]
    example: dict[str, Any] = {"messages": _MESSAGES} if chat else {"prompt": "Hello"}
    if sees:
        example = {"messages": _MESSAGES_WITH_PICTURE, "images": [_picture()]}
    return FileSignature(
        inputs,
        outputs,
        task=Task.GENERATION,
        description=description,
        examples=[{**example, "max_tokens": 8, "temperature": 0.0}],
    )


def _picture() -> str:
    """Return a small PNG file in base64."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
