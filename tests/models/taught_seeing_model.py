"""A tiny LLaVA that has learnt to name the colours of pictures."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from penstock_inference.runners.picture_prompts import load_processor
from tests.models.taught_model import teach
from tests.unit.inference.runners.tiny_language_model import END
from tests.unit.inference.runners.tiny_seeing_models import save_seeing_model

COLOURS = {"red": (200, 40, 40), "green": (40, 190, 50), "blue": (40, 50, 200)}
QUESTION = "Which colours?"
_SHADES = 2


def picture(colour: str, seed: int = 99, format_: str = "PNG", size: tuple[int, int] = (60, 40)) -> bytes:
    """Return a file of a picture in a shade of a colour."""
    random = np.random.default_rng([seed, *COLOURS[colour]])
    shade = np.array(COLOURS[colour]) + random.integers(-20, 20, 3)
    pixels = shade + random.integers(-15, 15, (size[1], size[0], 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, format_)
    return file.getvalue()


def save_taught_seeing_model(folder: Path) -> Path:
    """Write a folder as the hub has them; it answers QUESTION about one or two pictures, and "Hello" with "Hi!"."""
    save_seeing_model(folder)
    model = transformers.LlavaForConditionalGeneration.from_pretrained(folder)
    processor = load_processor(folder, model.config)
    one = [([colour], seed) for colour in COLOURS for seed in range(_SHADES)]
    two = [(list(pair), seed) for pair in itertools.product(COLOURS, repeat=2) for seed in range(_SHADES)]
    lessons = [[_lesson(processor, colours, seed) for colours, seed in asked] for asked in (one, two)]
    lessons.append([_tokens(processor, [{"type": "text", "text": "Hello"}], "Hi!")])
    teach(model, [_batch(examples) for examples in lessons])
    model.save_pretrained(folder)
    config = transformers.GenerationConfig(do_sample=False, eos_token_id=model.config.text_config.eos_token_id)
    config.save_pretrained(folder)
    return folder


class Direct:
    """Answers with ``generate`` of ``transformers``."""

    def __init__(self, folder: Path) -> None:
        self._model = transformers.LlavaForConditionalGeneration.from_pretrained(folder).eval()
        self._processor = load_processor(folder, self._model.config)

    def answer(self, pictures: Sequence[bytes]) -> str:
        read = _read(self._processor, _content(pictures))
        new = self._model.generate(**read, max_new_tokens=16, do_sample=False, pad_token_id=0)
        text: str = self._processor.tokenizer.decode(new[0, read["input_ids"].shape[1] :], skip_special_tokens=True)
        return text


def _lesson(processor: Any, colours: list[str], seed: int) -> dict[str, torch.Tensor]:
    pictures = [picture(colour, seed + i) for i, colour in enumerate(colours)]
    return _tokens(processor, _content(pictures), " ".join(colours))


def _content(pictures: Sequence[bytes]) -> list[dict[str, Any]]:
    """The parts of a message as templates have them."""
    opened = [{"type": "image", "image": Image.open(io.BytesIO(data))} for data in pictures]
    return [*opened, {"type": "text", "text": QUESTION}]


def _read(processor: Any, content: list[dict[str, Any]]) -> Any:
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def _tokens(processor: Any, content: list[dict[str, Any]], answer: str) -> dict[str, torch.Tensor]:
    read = _read(processor, content)
    asked = read["input_ids"][0]
    answered = torch.tensor(processor.tokenizer(answer + END)["input_ids"])
    example = {"input_ids": torch.cat([asked, answered]), "labels": torch.cat([torch.full_like(asked, -100), answered])}
    return example | ({"pixel_values": read["pixel_values"]} if "pixel_values" in read else {})


def _batch(examples: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Examples of pictures of the same number, filled up behind their ends."""
    pad = torch.nn.utils.rnn.pad_sequence
    batch = {
        "input_ids": pad([example["input_ids"] for example in examples], batch_first=True),
        "labels": pad([example["labels"] for example in examples], batch_first=True, padding_value=-100),
    }
    pictures = [example["pixel_values"] for example in examples if "pixel_values" in example]
    return batch | ({"pixel_values": torch.cat(pictures)} if pictures else {})
