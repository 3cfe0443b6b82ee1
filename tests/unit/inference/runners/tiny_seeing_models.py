"""Models that see pictures, of several architectures, made in a moment with random weights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from penstock_common import text_generation
from penstock_common.manifest import Generation, Manifest
from tests.unit.inference.runners import tiny_language_model
from tests.unit.inference.runners.tiny_language_model import byte_tokenizer

CONTEXT = 256
INPUTS = [*text_generation.INPUTS, text_generation.IMAGES]
_SIDE, _PATCH = 32, 8
_TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}]{% for part in message.content %}"
    "{% if part.type == 'image' %}PICTURE{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
_LANGUAGE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.5,
    "bos_token_id": None,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": _SIDE,
    "patch_size": _PATCH,
    "initializer_range": 0.5,
}
_TILES = {"size": {"longest_edge": 2 * _SIDE}, "max_image_size": {"longest_edge": _SIDE}, "do_image_splitting": True}
#: Tokens of the architectures, with the names by which their processors look some of them up.
_SPECIAL = {
    "image_token": "<image>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "around": "<fake_token_around_image>",
    "end_of_utterance": "<end_of_utterance>",
    "global": "<global-img>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
    "video": "<|video_pad|>",
}


class _Made(NamedTuple):
    """What a folder has beside its tokenizer; ``settings`` are those of ``processor_config.json``."""

    model: Any
    image_processor: Any
    settings: dict[str, Any]
    place: str  # of a picture, in a prompt


def _llava(token: Callable[[str], int], language: dict[str, Any]) -> _Made:
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**_VISION),
        text_config=transformers.LlamaConfig(**language),
        image_token_index=token("<image>"),
    )
    sizes = {"size": {"shortest_edge": _SIDE}, "crop_size": {"height": _SIDE, "width": _SIDE}}
    settings = {"patch_size": _PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    model = transformers.LlavaForConditionalGeneration(config)
    return _Made(model, LlavaImageProcessorPil(**sizes, do_pad=False), settings, "<image>")


def _idefics3(token: Callable[[str], int], language: dict[str, Any]) -> _Made:
    config = transformers.Idefics3Config(**_in_tiles(token, language))
    model = transformers.Idefics3ForConditionalGeneration(config)
    return _Made(model, Idefics3ImageProcessorPil(**_TILES), {"image_seq_len": 4}, "<image>")


def _smolvlm(token: Callable[[str], int], language: dict[str, Any]) -> _Made:
    config = transformers.SmolVLMConfig(**_in_tiles(token, language))
    model = transformers.SmolVLMForConditionalGeneration(config)
    return _Made(model, SmolVLMImageProcessorPil(**_TILES), {"image_seq_len": 4}, "<image>")


def _in_tiles(token: Callable[[str], int], language: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model that sees a large picture as tiles, of 4 tokens each."""
    return {
        "vision_config": _VISION,
        "text_config": transformers.LlamaConfig(**language),
        "scale_factor": 2,
        "image_token_id": token("<image>"),
    }


def _qwen2_vl(token: Callable[[str], int], language: dict[str, Any]) -> _Made:
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "patch_size": _PATCH, "mlp_ratio": 2}
    config = transformers.Qwen2VLConfig(vision_config=vision, **_of_qwen(token, language))
    return _qwen(transformers.Qwen2VLForConditionalGeneration(config))


def _qwen2_5_vl(token: Callable[[str], int], language: dict[str, Any]) -> _Made:
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "out_hidden_size": 32,
        "patch_size": _PATCH,
        "window_size": 4 * _PATCH,
        "fullatt_block_indexes": [1],
    }
    config = transformers.Qwen2_5_VLConfig(vision_config=vision, **_of_qwen(token, language))
    return _qwen(transformers.Qwen2_5_VLForConditionalGeneration(config))


def _qwen(model: Any) -> _Made:
    image_processor = Qwen2VLImageProcessorPil(patch_size=_PATCH, min_pixels=_SIDE**2, max_pixels=4 * _SIDE**2)
    return _Made(model, image_processor, {}, "<|vision_start|><image><|vision_end|>")


def _of_qwen(token: Callable[[str], int], language: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model whose positions are those of a picture's rows and columns."""
    positions = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
    return {
        "text_config": language | {"rope_parameters": positions},
        "image_token_id": token("<image>"),
        "video_token_id": token("<|video_pad|>"),
        "vision_start_token_id": token("<|vision_start|>"),
        "vision_end_token_id": token("<|vision_end|>"),
    }


def _gemma3(token: Callable[[str], int], language: dict[str, Any]) -> _Made:
    """The tokens of a picture see each other; some layers see only the last tokens."""
    config = transformers.Gemma3Config(
        text_config=language
        | {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"], "tie_word_embeddings": False},
        vision_config=_VISION,
        mm_tokens_per_image=4,
        image_token_index=token("<image>"),
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
        tie_word_embeddings=False,
    )
    image_processor = Gemma3ImageProcessorPil(size={"height": _SIDE, "width": _SIDE})
    model = transformers.Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)  # zeros otherwise
    return _Made(model, image_processor, {"image_seq_length": 4}, "<start_of_image>")


#: How a model of each architecture is made.
ARCHITECTURES: dict[str, Callable[[Callable[[str], int], dict[str, Any]], _Made]] = {
    "llava": _llava,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "gemma3": _gemma3,
}


def save_seeing_model(folder: Path, architecture: str = "llava", **language: Any) -> Path:
    """Write a folder as the hub has them; scores are far enough apart that rounding does not change the best."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(_SPECIAL)
    tokenizer.save_pretrained(folder)
    own = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    made = ARCHITECTURES[architecture](tokenizer.convert_tokens_to_ids, _LANGUAGE | own | language)
    made.model.save_pretrained(folder)
    made.image_processor.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(made.settings))
    (folder / "chat_template.jinja").write_text(_TEMPLATE.replace("PICTURE", made.place))
    return folder


def manifest(generation: Generation | None = None) -> Manifest:
    return tiny_language_model.manifest(generation, INPUTS)


def row(images: Sequence[bytes] = (), **given: Any) -> list[NDArray[Any] | None]:
    """Return the inputs of a stream as the runner gets them, in the order of ``INPUTS``."""
    pictures = None
    if images:
        pictures = np.empty((1, len(images)), np.object_)
        pictures[0, :] = images
    return [*tiny_language_model.row(**given), pictures]


def picture(seed: int, width: int = 40, height: int = 60) -> bytes:
    """Return a PNG file of noise in a colour."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 192, 3) + random.integers(0, 64, (height, width, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def messages(*parts: str) -> str:
    """Return the messages of one user, whose parts are texts, and pictures where they are empty."""
    content = [{"type": "text", "text": part} if part else {"type": "image"} for part in parts]
    return json.dumps([{"role": "user", "content": content}])
