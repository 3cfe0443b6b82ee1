"""Folders of Hugging Face: everything that is asked for is in their JSON files. GGUF files: in their headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Task
from penstock_inference.runners.hugging_face import (
    TEXT_TO_TEXT,
    WHISPER,
    architecture_of,
    generates_text,
    head_of,
    not_served,
    read_json,
    sees,
)
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.signatures import text_generation
from penstock_inference.signatures.hugging_face_translators import text_to_text

#: Characters of a token, generously: longer texts would only be cut.
_CHARACTERS_OF_A_TOKEN = 8
#: Tokenizers without a limit say this or more.
_NO_LIMIT = 1_000_000
_DEFAULT_TOKENS = 512
#: Of a prompt of Whisper, which reads its last 223 tokens.
_PROMPT_CHARACTERS = 2000
#: Names that are listed in a description.
_LISTED = 10


def read(path: Path) -> FileSignature:
    """Return the signature that the architecture in ``config.json`` has.

    Raises:
        ModelMismatchError: the folder is not a model, has only weights that are pickles, or a head that is not served.
    """
    if path.is_file():
        return text_generation.read_gguf(path)
    if not (path / "config.json").exists():
        raise ModelMismatchError(f"{path.name} has no config.json; write the folder with save_pretrained.")
    if not list(path.glob("*.safetensors")):
        raise ModelMismatchError(
            f"{path.name} has no weights in safetensors; load it with transformers and write it with save_pretrained."
        )
    config = read_json(path / "config.json")
    architecture = architecture_of(config.get("architectures"))
    description = f"{architecture or config.get('model_type', 'A model')} of Hugging Face"
    if generates_text(architecture):
        return text_generation.signature(_tokens(path, config), chat=_has_template(path), description=description)
    if sees(config):
        if not _has_template(path):
            raise ModelMismatchError(f"{path.name} has no chat template; a model that sees reads pictures in messages.")
        return text_generation.signature(_tokens(path, config), chat=True, description=description, sees=True)
    text = FoundInput("text", "BYTES", [], FieldKind.TEXT, max_length=_CHARACTERS_OF_A_TOKEN * _tokens(path, config))
    text.note = f"max_length is a guess, from the {_tokens(path, config)} tokens that the model reads"
    match head_of(architecture):
        case "SequenceClassification":
            return _classifier(config, text, description)
        case "ImageClassification":
            return _classifier(config, FoundInput("image", "BYTES", [], FieldKind.IMAGE), description)
        case "ObjectDetection":
            return _object_finder(config, description)
        case "CTC":
            return _speech(["text", "segments"], [], description)
        case "ConditionalGeneration" if config.get("model_type") == WHISPER:
            return _whisper(path, description)
        case "ConditionalGeneration" if config.get("model_type") in TEXT_TO_TEXT:
            return text_to_text(path, config, text, description)
        case "TokenClassification":
            entities = FoundOutput("entities", "BYTES", [])
            return FileSignature([text], [entities], task=Task.TENSOR, description=description)
        case "" | "MaskedLM" | "PreTraining":
            vector = FoundOutput("embedding", "FP32", [_width(config)])
            tokens = FoundOutput("tokens", "INT32", [])
            return FileSignature([text], [vector, tokens], task=Task.TENSOR, description=description)
    raise not_served(architecture)


def _object_finder(config: dict[str, Any], description: str) -> FileSignature:
    names = list(dict.fromkeys((config.get("id2label") or {}).values()))
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return FileSignature(
        [FoundInput("image", "BYTES", [], FieldKind.IMAGE)],
        [FoundOutput("boxes", "BYTES", [])],
        task=Task.TENSOR,
        description=f"{description}, which finds {', '.join(names[:_LISTED])}{more}" if names else description,
        best_rows=1,
    )


def _whisper(path: Path, description: str) -> FileSignature:
    language = FoundInput("language", "BYTES", [], FieldKind.TEXT, max_length=20, required=False)
    language.note = "language is heard if a row does not name it"
    task = FoundInput("task", "BYTES", [], FieldKind.CATEGORY, categories=["transcribe", "translate"], required=False)
    task.note = "translate writes English; transcribe is what a row gets that names neither"
    several = read_json(path / "generation_config.json").get("is_multilingual", True)
    prompt = FoundInput("prompt", "BYTES", [], FieldKind.TEXT, max_length=_PROMPT_CHARACTERS, required=False)
    prompt.note = "prompt is a text before the sound, for its spellings and its style"
    temperature = FoundInput("temperature", "FP32", [], FieldKind.NUMBER, required=False)
    temperature.note = "temperature is 0 to 1"
    inputs = [*([language, task] if several else []), prompt, temperature]
    return _speech(["text", "segments", "language"], inputs, description)


def _speech(outputs: list[str], inputs: list[FoundInput], description: str) -> FileSignature:
    sound = FoundInput("audio", "BYTES", [], FieldKind.AUDIO)
    sound.note = "sounds of 60 seconds are allowed; max_seconds says otherwise"
    given = [FoundOutput(name, "BYTES", []) for name in outputs]
    return FileSignature([sound, *inputs], given, task=Task.TENSOR, description=description, best_rows=8)


def _classifier(config: dict[str, Any], taken: FoundInput, description: str) -> FileSignature:
    by_number = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # what the library takes if there are none
    labels = [by_number[key] for key in sorted(by_number, key=int)]
    if len(labels) == 1:  # a score, of how well two texts fit or how good one is
        score = FoundOutput("logits", "FP32", [1])
        return FileSignature([taken], [score], task=Task.REGRESSION, description=description)
    probabilities = FoundOutput("probabilities", "FP32", [len(labels)], probabilities=True)
    return FileSignature(
        [taken],
        [probabilities],
        task=Task.CLASSIFICATION,
        labels=labels,
        numbered=all(label.startswith("LABEL_") for label in labels),
        description=description,
    )


def _has_template(path: Path) -> bool:
    files = ("tokenizer_config.json", "processor_config.json", "chat_template.json")
    return (path / "chat_template.jinja").exists() or any("chat_template" in read_json(path / name) for name in files)


def _tokens(path: Path, config: dict[str, Any]) -> int:
    own = read_json(path / "sentence_bert_config.json").get("max_seq_length")
    limit = read_json(path / "tokenizer_config.json").get("model_max_length") or _NO_LIMIT
    positions = config.get("text_config", config).get("max_position_embeddings") or _DEFAULT_TOKENS
    return int(own or min(limit, positions))


def _width(config: dict[str, Any]) -> int:
    for key in ("hidden_size", "dim", "d_model", "n_embd"):
        if key in config:
            return int(config[key])
    raise ModelMismatchError("config.json does not say how wide an embedding is (hidden_size).")
