"""What a folder of Hugging Face says of itself in its JSON files, without the library that runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock_inference.runners.runner import ModelMismatchError

#: The ``model_type`` of the models for ``ConditionalGeneration`` that read a text and write another.
TEXT_TO_TEXT = frozenset({"bart", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5"})
WHISPER = "whisper"

#: Architectures whose names do not say what they are for.
_OTHER_NAMES = {"MarianMTModel": "ConditionalGeneration", "T5WithLMHeadModel": "ConditionalGeneration"}


def architecture_of(architectures: Sequence[str] | None) -> str:
    """Return the first of the ``architectures`` in ``config.json``; empty if there is none."""
    return (architectures or [""])[0]


def head_of(architecture: str) -> str:
    """Return what follows ``For`` in the name of an architecture; empty for a model without a head."""
    if "For" in architecture:
        return architecture.rpartition("For")[2]
    return _OTHER_NAMES.get(architecture, "")


def generates_text(architecture: str) -> bool:
    """Return whether an architecture continues a text."""
    return architecture not in _OTHER_NAMES and architecture.endswith(("ForCausalLM", "LMHeadModel"))


def sees(config: Mapping[str, Any]) -> bool:
    """Return whether a model answers texts and pictures with a text, by what is in ``config.json``."""
    return (
        "vision_config" in config and head_of(architecture_of(config.get("architectures"))) == "ConditionalGeneration"
    )


def not_served(architecture: str) -> ModelMismatchError:
    """The error for a head that is not served, with those that are."""
    return ModelMismatchError(
        f"{architecture} is not served from a folder; the heads that are: ForSequenceClassification, "
        "ForTokenClassification, ForImageClassification, ForObjectDetection, ForCTC, ForConditionalGeneration of "
        f"{', '.join(sorted([*TEXT_TO_TEXT, WHISPER]))}, and none, for embeddings; "
        "ForCausalLM, and ForConditionalGeneration of what sees pictures, with task: generation and stream: true."
    )


def read_json(path: Path) -> Any:
    """Return what a file of the folder says; an empty dictionary if it is absent."""
    return json.loads(path.read_text()) if path.exists() else {}
