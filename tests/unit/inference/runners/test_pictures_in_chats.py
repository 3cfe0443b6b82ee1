"""Models that see answer pictures and texts as ``generate`` of ``transformers`` does, many at once."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from penstock_common.errors import PenstockError
from penstock_common.manifest import Generation
from penstock_inference.runners import picture_prompts, prefill
from penstock_inference.runners.picture_prompts import load_processor
from penstock_inference.runners.prefill import Prefill
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.runners.text_generation import TextGenerationRunner, load_streaming
from tests.unit.inference.runners.tiny_language_model import chunks_of, joined, output, save_language_model
from tests.unit.inference.runners.tiny_seeing_models import (
    ARCHITECTURES,
    manifest,
    messages,
    picture,
    row,
    save_seeing_model,
)

_SEEN = [
    ((1,), ("What is this?", "")),
    ((2,), ("", "What is this?")),
    ((1, 2), ("", "or", "", "?")),
    ((2, 1), ("", "or", "", "?")),
]


class Library:
    """Answers conversations with ``generate``."""

    def __init__(self, folder: Path) -> None:
        self._model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
        self._processor = load_processor(folder, self._model.config)

    def answer(self, images: list[bytes], conversation: str, **options: Any) -> tuple[str, int, int]:
        """Return the text, and how many tokens it and its prompt have."""
        pictures = iter([Image.open(io.BytesIO(image)) for image in images])
        read = json.loads(conversation)
        for message in read:
            for part in message["content"]:
                if part["type"] == "image":
                    part["image"] = next(pictures)
        inputs = self._processor.apply_chat_template(
            read, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        options = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, **options}
        count = inputs["input_ids"].shape[1]
        new = self._model.generate(**inputs, **options)[0, count:].tolist()
        text = self._processor.tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text, len(new), count


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_those_of_generate(architecture: str, tmp_path: Path) -> None:
    """Of one picture and of two in either order, alone and all at once beside texts; text, tokens and prompt tokens."""
    folder = save_seeing_model(tmp_path / "model", architecture)
    library = Library(folder)
    asked = [([picture(seed) for seed in seeds], messages(*parts)) for seeds, parts in _SEEN]
    asked.append(([], messages("What is the weir?")))
    wanted = [library.answer(images, conversation) for images, conversation in asked]
    assert len({text for text, *_ in wanted}) == len(wanted)
    runner = load_streaming(folder, manifest(), 1)
    for i, (images, conversation) in enumerate(asked):
        runner.open(i, row(images, messages=conversation, max_tokens=12))
        assert of_chunks(chunks_of(runner, i)[i]) == wanted[i]
    for i, (images, conversation) in enumerate(asked):
        runner.open(i, row(images, messages=conversation, max_tokens=12))
    together = chunks_of(runner, *range(len(asked)))
    assert [of_chunks(together[i]) for i in range(len(asked))] == wanted


def of_chunks(chunks: list[Any]) -> tuple[str, int, int]:
    tokens = sum([output(chunk, "tokens") for chunk in chunks])
    return joined(chunks), tokens, output(chunks[0], "prompt_tokens")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_seeing_model(tmp_path_factory.mktemp("artifact") / "model")


@pytest.fixture
def runner(folder: Path) -> TextGenerationRunner:
    return load_streaming(folder, manifest(), 1)


_MESSAGES = messages("", "What is this?")


def answer(runner: TextGenerationRunner, images: list[bytes], **given: Any) -> str:
    """Return the text of a stream that runs alone."""
    runner.open(1, row(images, **{"messages": _MESSAGES, "max_tokens": 12, **given}))
    return joined(chunks_of(runner, 1)[1])


def refusal(runner: TextGenerationRunner, images: list[bytes], **given: Any) -> str:
    with pytest.raises(PenstockError) as raised:
        runner.open(1, row(images, **given))
    assert (raised.value.status, raised.value.code) == (422, "invalid-input")
    assert runner.step() == []  # nothing of it is left
    return raised.value.detail


def test_sampling_and_forms_hold_with_a_picture(runner: TextGenerationRunner, folder: Path) -> None:
    """A seed gives the text of ``generate``; a stop ends it; the form of an answer is kept."""
    torch.manual_seed(5)
    wanted, *_ = Library(folder).answer([picture(1)], _MESSAGES, do_sample=True, temperature=0.7, top_k=0)
    assert answer(runner, [picture(1)], temperature=0.7, seed=5) == wanted
    greedy = answer(runner, [picture(1)])
    assert answer(runner, [picture(1)], stop=[greedy[4:6]]) == greedy[: greedy.index(greedy[4:6])]
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert json.loads(answer(runner, [picture(1)], max_tokens=90, response_format=json.dumps(form))) in (
        {"a": 1},
        {"a": 2},
    )


def test_a_stream_that_is_closed_leaves_the_others_as_they_are(folder: Path) -> None:
    """While it waits, before its first step and later; the cache has room for one picture more than that."""
    runner = load_streaming(folder, manifest(Generation(cache_tokens=128)), 1)
    wanted = answer(runner, [picture(2)])
    for steps in range(4):
        runner.open(7, row([picture(1)], messages=_MESSAGES, max_tokens=12))
        runner.open(8, row([picture(2)], messages=_MESSAGES, max_tokens=12))
        runner.open(9, row([picture(3)], messages=_MESSAGES, max_tokens=12))
        before = [chunk for _ in range(steps) for chunk in runner.step()]
        for closed in (7, 9):
            runner.close(closed)
        after = chunks_of(runner, 8)
        assert set(after) == {8}
        assert joined([chunk for chunk in before if chunk.stream == 8] + after[8]) == wanted


def test_a_step_sees_the_pictures_of_one_stream(runner: TextGenerationRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that are already writing go on between them."""
    runner.open(0, row(prompt="The weir", max_tokens=12))
    for i in (1, 2, 3):
        runner.open(i, row([picture(i)], messages=_MESSAGES, max_tokens=12))
    seen = []
    read = Prefill.read
    monkeypatch.setattr(Prefill, "read", lambda *given: seen.append(0) or read(*given))
    for step in (1, 2, 3):
        runner.step()
        assert len(seen) == step
    assert set(chunks_of(runner, 0, 1, 2, 3)) == {0, 1, 2, 3}


@pytest.mark.parametrize("late", [False, True])
def test_what_goes_wrong_with_a_picture_ends_its_own_stream(
    late: bool, runner: TextGenerationRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the model, or once the cache has places for it: these are free again, and a text beside it goes on."""
    text, wanted = answer(runner, [], messages=messages("Hello")), answer(runner, [picture(2)])
    cache = runner._batch._processor.cache
    free = cache.compute_free_capacity()
    write = prefill._write

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no memory for the picture")

    def write_and_fail(*given: Any) -> None:
        write(*given)
        fail()

    with monkeypatch.context() as patch:
        if late:
            patch.setattr(prefill, "_write", write_and_fail)
        else:
            patch.setattr(runner._model.model.vision_tower, "forward", fail)
        runner.open(4, row([picture(1)], messages=_MESSAGES, max_tokens=12))
        runner.open(3, row(messages=messages("Hello"), max_tokens=12))
        [failed] = [chunk for chunk in runner.step() if chunk.stream == 4]
    assert failed.last and "no memory" in str(failed.error)
    assert joined(chunks_of(runner, 3)[3]) == text
    assert answer(runner, [picture(2)]) == wanted
    runner.step()
    assert cache.compute_free_capacity() == free


def test_pictures_that_cannot_be_read_are_refused(
    runner: TextGenerationRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says which, or what of the messages does not fit them."""
    whole = picture(1)
    assert "images.1: the image cannot be decoded" in refusal(
        runner, [whole, whole[:100]], messages=messages("", "", "What?")
    )
    assert "there are 2, and 1 parts of type image" in refusal(runner, [whole, whole], messages=_MESSAGES)
    assert "there are 0, and 1 parts" in refusal(runner, [], messages=_MESSAGES)
    assert "images: belong to messages" in refusal(runner, [whole], prompt="The weir")
    unknown = json.dumps([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}])
    assert "messages.0.content.0: is not a part of type text or image" in refusal(runner, [], messages=unknown)
    monkeypatch.setattr(picture_prompts, "MAX_PIXELS", 4000)
    assert "more than 0 million pixels together" in refusal(runner, [whole, whole], messages=messages("", "", "What?"))


def test_pictures_count_as_tokens_of_the_prompt(folder: Path) -> None:
    """So many that the model or its cache has no room are refused."""
    runner = load_streaming(folder, manifest(), 1)
    with pytest.raises(PenstockError, match=r"the prompt has 277 tokens .* the model reads 256"):
        runner.open(1, row([picture(1)] * 16, messages=messages(*[""] * 16, "What?")))


def test_a_text_cannot_stand_for_a_picture(runner: TextGenerationRunner) -> None:
    """A client that writes the token of a picture's place is refused, with a picture and without."""
    for images, parts in (([picture(1)], ("<image>", "", "What?")), ([], ("<image>",))):
        assert "the model's chat template refuses them" in refusal(runner, images, messages=messages(*parts))


def test_a_model_that_sees_nothing_has_no_images(tmp_path: Path) -> None:
    """Nor does a folder without a chat template, which has no place for them."""
    blind = save_language_model(tmp_path / "blind")
    with pytest.raises(ModelMismatchError, match="sees no pictures; leave out the input images"):
        load_streaming(blind, manifest(), 1)
    folder = save_seeing_model(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelMismatchError, match="no chat template"):
        load_streaming(folder, manifest(), 1)
