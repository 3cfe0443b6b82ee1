"""What the JSON files of a folder of Hugging Face say, for models whose answers are texts, boxes or words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock_common.file_signature import FileSignature
from penstock_common.manifest import FieldKind, Format, Task
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.signatures.read import read_signature


def read(folder: Path, config: dict[str, Any], **files: Any) -> FileSignature:
    """Write a folder with a config and other JSON files, and read it; a signature never needs the weights."""
    signature = read_any(folder, config, **files)
    assert signature.task is Task.TENSOR
    return signature


def read_any(folder: Path, config: dict[str, Any], **files: Any) -> FileSignature:
    (folder / "model.safetensors").touch()
    for name, content in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return read_signature(folder, Format.TRANSFORMERS, [])


def shown(signature: FileSignature) -> tuple[list[tuple[str | None, bool]], list[str | None]]:
    """Return the inputs with whether they are required, and the outputs."""
    assert signature.outputs is not None
    return [(found.name, found.required) for found in signature.inputs], [found.name for found in signature.outputs]


@pytest.mark.parametrize(
    ("architecture", "family"),
    [("MarianMTModel", "marian"), ("T5WithLMHeadModel", "t5"), ("PegasusForConditionalGeneration", "pegasus")],
)
def test_a_folder_of_one_language_takes_a_text(architecture: str, family: str, tmp_path: Path) -> None:
    """Also if the name of its architecture does not say what it is for; its tasks are in a note."""
    tasks = {"summarization": {"prefix": "summarize: "}}
    config = {"architectures": [architecture], "model_type": family, "task_specific_params": tasks}
    signature = read(tmp_path, config, tokenizer_config={"model_max_length": 100})
    assert shown(signature) == ([("text", True), ("max_tokens", False)], ["text"])
    assert signature.inputs[0].max_length == 800
    assert "summarization" in signature.inputs[0].note
    assert not signature.examples


@pytest.mark.parametrize(
    ("family", "files", "languages"),
    [
        ("m2m_100", {"tokenizer_config": {"additional_special_tokens": ["eng_Latn", "fra_Latn"]}}, ["eng_Latn", "fra_Latn"]),
        ("m2m_100", {"special_tokens_map": {"additional_special_tokens": ["__de__", "__en__"]}}, ["de", "en"]),
        ("m2m_100", {"tokenizer_config": {"tokenizer_class": "M2M100Tokenizer"}}, ["af", "am", "ar"]),
        ("mbart", {"tokenizer": {"added_tokens": [{"content": "<s>"}, {"content": "de_DE"}]}}, ["de_DE"]),
    ],
)  # fmt: skip
def test_a_folder_of_several_languages_takes_a_target(
    family: str, files: dict[str, Any], languages: list[str], tmp_path: Path
) -> None:
    """The examples show some; the source need not be named."""
    config = {"architectures": ["M2M100ForConditionalGeneration"], "model_type": family}
    signature = read(tmp_path, config, **files)
    inputs, outputs = shown(signature)
    assert inputs == [("text", True), ("max_tokens", False), ("target_language", True), ("source_language", False)]
    assert outputs == ["text"]
    assert [row["target_language"] for row in signature.examples] == [languages[i % len(languages)] for i in range(3)]


def test_a_marian_folder_names_its_targets_in_its_vocabulary(tmp_path: Path) -> None:
    """Its source is always the same."""
    config = {"architectures": ["MarianMTModel"], "model_type": "marian"}
    signature = read(tmp_path, config, vocab={"<pad>": 0, ">>deu<<": 1, ">>fra<<": 2, "a": 3})
    assert [found.name for found in signature.inputs] == ["text", "max_tokens", "target_language"]
    assert [row["target_language"] for row in signature.examples] == ["deu", "fra", "deu"]


def test_a_folder_that_finds_objects_takes_an_image(tmp_path: Path) -> None:
    """What it finds is in the description."""
    names = {str(i): f"thing {i}" for i in range(12)}
    signature = read(tmp_path, {"architectures": ["DetrForObjectDetection"], "model_type": "detr", "id2label": names})
    assert shown(signature) == ([("image", True)], ["boxes"])
    assert signature.inputs[0].kind is FieldKind.IMAGE
    assert "thing 0, thing 1" in signature.description and signature.description.endswith("thing 9 and 2 more")


@pytest.mark.parametrize("several", [True, False])
def test_whisper_takes_a_sound_and_may_be_told_the_language_and_the_task(several: bool, tmp_path: Path) -> None:
    """If it knows more than one."""
    config = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}
    signature = read(tmp_path, config, generation_config={"is_multilingual": several})
    inputs = [
        ("audio", True),
        *([("language", False), ("task", False)] if several else []),
        ("prompt", False),
        ("temperature", False),
    ]
    assert shown(signature) == (inputs, ["text", "segments", "language"])
    assert signature.inputs[0].kind is FieldKind.AUDIO


def test_a_folder_of_ctc_takes_a_sound(tmp_path: Path) -> None:
    """It gives a text and its words."""
    signature = read(tmp_path, {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2"})
    assert shown(signature) == ([("audio", True)], ["text", "segments"])


@pytest.mark.parametrize("file", ["tokenizer_config", "processor_config", "chat_template"])
@pytest.mark.parametrize("own", [True, False])
def test_a_folder_that_sees_takes_pictures_in_messages(own: bool, file: str, tmp_path: Path) -> None:
    """Also if its configuration has what concerns the language at the top; the example has a picture."""
    language = {"max_position_embeddings": 100}
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}
    config |= {"text_config": language} if own else language
    signature = read_any(tmp_path, config, **{file: {"chat_template": "{{ messages }}"}})
    assert signature.task is Task.GENERATION
    by_name = {found.name: found for found in signature.inputs}
    images = by_name["images"]
    assert (images.kind, images.shape, images.max_elements, images.required) == (FieldKind.IMAGE, [-1], 16, False)
    assert by_name["messages"].max_length == 800
    [example] = signature.examples
    assert json.loads(example["messages"])[0]["content"][0] == {"type": "image"} and len(example["images"]) == 1


def test_a_folder_that_sees_needs_a_chat_template(tmp_path: Path) -> None:
    """Its prompts alone have no place for pictures."""
    config = {"architectures": ["PaliGemmaForConditionalGeneration"], "vision_config": {}}
    with pytest.raises(ModelMismatchError, match="has no chat template"):
        read_any(tmp_path, config)
