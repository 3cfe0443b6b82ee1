"""Folders of Hugging Face that translate or summarize: their languages and tasks are in their JSON files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Task
from penstock_inference.runners.hugging_face import read_json

#: How tokenizers write languages: NLLB and mBART, M2M100, Marian.
_LANGUAGE_TOKENS = (
    re.compile(r"([a-z]{2,3}_[A-Z][A-Za-z]+)"),
    re.compile(r"__([a-z]{2,3})__"),
    re.compile(r">>([^<>]+)<<"),
)
_MARIAN = "marian"
_TEXTS = ("Good morning.", "Where is the station?", "It rains today, and the river is cold.")
_LONGEST_CODE = 20


def text_to_text(path: Path, config: dict[str, Any], text: FoundInput, description: str) -> FileSignature:
    """Return the signature of a folder whose model reads a text and writes another.

    Args:
        text: the input that all such models have.
    """
    tasks = config.get("task_specific_params") or {}
    if tasks:
        text.note += f"; parameters: {{task: ...}} chooses one of the folder's tasks, {', '.join(tasks)}"
    inputs = [text, FoundInput("max_tokens", "INT32", [], FieldKind.INTEGER, required=False)]
    examples: list[dict[str, Any]] = []
    languages = _languages(path)
    if languages:
        target = FoundInput("target_language", "BYTES", [], FieldKind.TEXT, max_length=_LONGEST_CODE)
        target.note = f"one of {len(languages)} languages, by the tokenizer's code or that of ISO 639"
        inputs.append(target)
        if config.get("model_type") != _MARIAN:
            inputs.append(
                FoundInput("source_language", "BYTES", [], FieldKind.TEXT, max_length=_LONGEST_CODE, required=False)
            )
        examples = [
            {"text": sentence, "target_language": languages[i % len(languages)]} for i, sentence in enumerate(_TEXTS)
        ]
    return FileSignature(
        inputs,
        [FoundOutput("text", "BYTES", [])],
        task=Task.TENSOR,
        description=description,
        best_rows=8,
        examples=examples,
        tasks=list(tasks),
    )


def _languages(path: Path) -> list[str]:
    """Return the codes of the languages that a tokenizer marks, in its order."""
    found = [pattern.fullmatch(token) for token in _tokens(path) for pattern in _LANGUAGE_TOKENS]
    codes = list(dict.fromkeys(match[1] for match in found if match))
    return codes or _known_by_the_library(path)


def _known_by_the_library(path: Path) -> list[str]:
    """Return the languages of a tokenizer of M2M100, whose files need not have them."""
    settings = read_json(path / "tokenizer_config.json")
    if settings.get("tokenizer_class") != "M2M100Tokenizer":
        return []
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    return list(FAIRSEQ_LANGUAGE_CODES[settings.get("language_codes") or "m2m100"])


def _tokens(path: Path) -> list[str]:
    """Return the special tokens of a tokenizer, and Marian's vocabulary, where its languages are."""
    tokens: list[Any] = []
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        settings = read_json(path / file)
        for key in ("extra_special_tokens", "additional_special_tokens"):
            tokens += settings.get(key) or []
        tokens += list((settings.get("added_tokens_decoder") or {}).values())
    tokens += read_json(path / "tokenizer.json").get("added_tokens") or []
    tokens += [token for token in read_json(path / "vocab.json") if token.startswith(">>")]
    return [token["content"] if isinstance(token, dict) else token for token in tokens]
