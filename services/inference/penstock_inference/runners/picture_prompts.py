"""Conversations with pictures to prompts of models that see, by the processor in a model's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from PIL import Image
from transformers import BatchFeature
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.video_processing_utils import VideoProcessorMixin

from penstock_common.preprocessing.image import MAX_PIXELS
from penstock_inference.runners.chat_template import invalid, refused_by_template
from penstock_inference.runners.pictures import decode_picture
from penstock_inference.runners.runner import ModelMismatchError


class PicturePrompts:
    """Reads conversations for a model that sees.

    Args:
        processor: of ``transformers``; makes the tensors of pictures, and puts as many tokens into the prompt as each of
            them takes.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def read(
        self, conversation: list[dict[str, Any]], tools: list[dict[str, Any]] | None, images: Sequence[bytes]
    ) -> tuple[list[int], BatchFeature | None]:
        """Return the tokens of a conversation, and with pictures what the model's ``forward`` takes to read them.

        Args:
            conversation: messages whose contents are lists of parts, of type ``text`` or ``image``.
            images: files, one for each part of type ``image``.

        Raises:
            PenstockError: 422 ``invalid-input``, which names the field.
        """
        places = [part for message in conversation for part in message["content"] if part["type"] == "image"]
        if len(places) != len(images):
            raise invalid(f"images: there are {len(images)}, and {len(places)} parts of type image in messages.")
        for part, picture in zip(places, _decoded(images), strict=True):
            part["image"] = picture
        try:
            read = self._processor.apply_chat_template(
                conversation,
                tools=tools,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        except Exception as err:  # whatever the template or the processor raises for what the client sent
            raise refused_by_template(err) from None
        tokens: list[int] = read["input_ids"][0].tolist()
        return tokens, read if images else None


class _NoVideos(VideoProcessorMixin):
    """What a processor has in place of one that reads videos."""

    num_frames = fps = None


class _WithoutVideos:
    """A processor that may have ``_NoVideos``, which the library would refuse."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        if isinstance(argument, _NoVideos):
            return _NoVideos
        return super().check_argument_for_proper_class(argument_name, argument)  # type: ignore[misc]


def load_processor(folder: Path, config: Any) -> Any:
    """Load a processor from a folder that ``save_pretrained`` wrote.

    ``AutoProcessor`` would want ``torchvision`` for pictures, and for the videos that nothing here sends.

    Raises:
        ModelMismatchError: the model takes something else than texts and pictures, or the folder has no chat template.
    """
    kind: Any = PROCESSOR_MAPPING.get(type(config), None)
    if kind is None:
        raise ModelMismatchError(
            f"{type(config).__name__} has no processor in transformers, so nothing reads pictures."
        )
    parts: dict[str, Any] = {
        "tokenizer": transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        "image_processor": transformers.AutoImageProcessor.from_pretrained(
            folder, backend="pil", trust_remote_code=False
        ),
        "video_processor": _NoVideos(),
    }
    wanted = kind.get_attributes()
    if unknown := [name for name in wanted if name not in parts]:
        raise ModelMismatchError(f"{kind.__name__} needs {unknown[0]}; models of texts and pictures are served.")
    settings, _ = kind.get_processor_dict(folder)
    without_videos: Any = type(kind.__name__, (_WithoutVideos, kind), {})
    processor = without_videos.from_args_and_dict([parts[name] for name in wanted], settings)
    if not (processor.chat_template or processor.tokenizer.chat_template):
        raise ModelMismatchError("The folder has no chat template; a model that sees reads pictures in messages.")
    return processor


def _decoded(images: Sequence[bytes]) -> list[Image.Image]:
    """Return pictures that have few enough pixels together, on white if they are transparent."""
    pictures, pixels = [], 0
    for i, data in enumerate(images):
        picture = decode_picture(f"images.{i}", data, on_white=True)
        pixels += picture.width * picture.height
        if pixels > MAX_PIXELS:
            raise invalid(
                f"images: have more than {MAX_PIXELS // 1_000_000} million pixels together; send smaller ones."
            )
        pictures.append(picture)
    return pictures
