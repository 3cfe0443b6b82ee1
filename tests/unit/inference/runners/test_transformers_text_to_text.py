"""Folders that translate or summarize answer as ``generate`` of the library does, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model
from tests.unit.inference.runners import tiny_translators
from tests.unit.inference.runners.tiny_translators import FAMILIES, SENTENCES

TEXT = Field("text", FieldKind.TEXT, "BYTES")
MAX_TOKENS = Field("max_tokens", FieldKind.INTEGER, "INT32", required=False)
SOURCE = Field("source_language", FieldKind.TEXT, "BYTES", required=False)
TARGET = Field("target_language", FieldKind.TEXT, "BYTES")


def manifest(*inputs: Field, examples: list[dict[str, Any]] | None = None, **parameters: Any) -> Manifest:
    return Manifest(
        Format.TRANSFORMERS,
        "model",
        Task.TENSOR,
        [TEXT, *inputs],
        [Output("text", "BYTES")],
        examples=examples or [{"text": text} for text in SENTENCES],
        parameters=Parameters(**parameters) if parameters else None,
    )


def ask(model: LoadedModel, texts: list[str], **inputs: list[Any]) -> list[str]:
    arrays = {"text": column(texts)}
    for name, values in inputs.items():
        arrays[name] = np.array(values, np.int32) if name == "max_tokens" else column(values)
    return [answer.decode() for answer in model.run(arrays)[0].tolist()]


def column(texts: list[str]) -> Any:
    return np.array([text.encode() for text in texts], object)


class Library:
    """The folder, loaded and run by the library itself, one text at a time and without sampling."""

    def __init__(self, artifact: Path) -> None:
        self.model = transformers.AutoModelForSeq2SeqLM.from_pretrained(artifact / "model")
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(artifact / "model")

    def answer(self, text: str, **settings: Any) -> str:
        tokens = self.tokenizer(text, return_tensors="pt")
        answers = self.model.generate(**tokens, **{"do_sample": False, **settings})
        return str(self.tokenizer.batch_decode(answers, skip_special_tokens=True)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_is_what_the_library_writes_for_it_alone(family: str, tmp_path: Path) -> None:
    """With the folder's beams and lengths, in a batch of texts of different lengths, and again in another order."""
    FAMILIES[family](tmp_path)
    model = load_model(manifest(), tmp_path, 1)
    library = Library(tmp_path)
    expected = [library.answer(text) for text in SENTENCES]
    assert len(set(expected)) > 1
    assert ask(model, SENTENCES) == expected
    assert ask(model, SENTENCES[::-1]) == expected[::-1]


def test_max_tokens_of_a_row_are_those_of_its_row(tmp_path: Path) -> None:
    """Rows with different bounds share a batch; each is as long as the library makes it with that bound."""
    tiny_translators.bart(tmp_path)
    model = load_model(manifest(MAX_TOKENS), tmp_path, 1)
    library = Library(tmp_path)
    bounds = [3, 15, 7, 3]
    expected = [library.answer(t, max_new_tokens=b) for t, b in zip(SENTENCES, bounds, strict=True)]
    assert ask(model, SENTENCES, max_tokens=bounds) == expected
    assert [len(answer.split()) for answer in expected] != [len(library.answer(text).split()) for text in SENTENCES]


@pytest.mark.parametrize("bound", [0, -1, 16])
def test_max_tokens_beyond_the_models_bound_are_refused(bound: int, tmp_path: Path) -> None:
    """The folder's max_length of 16 counts the token with which an answer starts."""
    tiny_translators.bart(tmp_path)
    model = load_model(manifest(MAX_TOKENS), tmp_path, 1)
    with pytest.raises(PenstockError, match=f"max_tokens: {bound} is not within 1 to 15") as refused:
        ask(model, SENTENCES[:1], max_tokens=[bound])
    assert refused.value.status == 422


def test_the_manifest_bounds_answers(tmp_path: Path) -> None:
    """A bound of the manifest takes the place of the folder's, as far as the model has positions."""
    tiny_translators.bart(tmp_path)
    model = load_model(manifest(max_tokens=20), tmp_path, 1)
    library = Library(tmp_path)
    assert ask(model, SENTENCES) == [library.answer(text, max_new_tokens=20) for text in SENTENCES]
    longest = load_model(manifest(max_tokens=10_000), tmp_path, 1)
    assert ask(longest, SENTENCES[:1]) == [library.answer(SENTENCES[0], max_new_tokens=39)]


def test_the_manifest_may_set_the_beams(tmp_path: Path) -> None:
    """The folder has 3."""
    tiny_translators.bart(tmp_path)
    library = Library(tmp_path)
    expected = [library.answer(text, num_beams=1, early_stopping=False) for text in SENTENCES]
    assert ask(load_model(manifest(beam_size=1), tmp_path, 1), SENTENCES) == expected
    assert expected != [library.answer(text) for text in SENTENCES]


def test_a_text_that_is_too_long_is_refused_with_its_tokens_and_the_limit(tmp_path: Path) -> None:
    """Half a translation would look like a whole one."""
    tiny_translators.t5(tmp_path)
    model = load_model(manifest(), tmp_path, 1)
    with pytest.raises(PenstockError, match=r"text: it has 101 tokens, the model reads 40; .*truncate") as refused:
        ask(model, ["river " * 100])
    assert refused.value.status == 422


def test_a_text_that_is_too_long_is_cut_if_the_manifest_says_so(tmp_path: Path) -> None:
    """To the tokens that the model reads, its end mark included."""
    tiny_translators.t5(tmp_path)
    model = load_model(manifest(truncate=True), tmp_path, 1)
    assert ask(model, [SENTENCES[2] + " river" * 100]) == [Library(tmp_path).answer(SENTENCES[2] + " river" * 27)]


def test_a_task_of_the_folder_brings_its_prefix_and_settings(tmp_path: Path) -> None:
    """T5 does what the first words of a text say."""
    tasks = {"summarization": {"prefix": "graz is ", "num_beams": 1, "max_length": 9, "no_repeat_ngram_size": 1}}
    tiny_translators.t5(tmp_path, task_specific_params=tasks)
    model = load_model(manifest(task="summarization"), tmp_path, 1)
    library = Library(tmp_path)
    settings = {"num_beams": 1, "early_stopping": False, "max_length": 9, "no_repeat_ngram_size": 1}
    expected = [library.answer(f"graz is {text}", **settings) for text in SENTENCES]
    assert ask(model, SENTENCES) == expected
    assert expected != [library.answer(text) for text in SENTENCES]


def test_a_task_that_the_folder_does_not_name_is_refused(tmp_path: Path) -> None:
    """With those that it names."""
    tiny_translators.t5(tmp_path, task_specific_params={"summarization": {"prefix": "summarize: "}})
    with pytest.raises(ModelMismatchError, match="does not name the task 'translation'; it names summarization"):
        load_model(manifest(task="translation"), tmp_path, 1)


def test_a_parameter_that_the_model_does_not_have_is_refused(tmp_path: Path) -> None:
    """A threshold is for scores."""
    tiny_translators.t5(tmp_path)
    with pytest.raises(
        ModelMismatchError, match=r"parameters\.threshold: .* no such parameter; it has task, max_tokens"
    ):
        load_model(manifest(threshold=0.5), tmp_path, 1)


def test_each_row_of_m2m100_has_its_languages(tmp_path: Path) -> None:
    """Rows that share a batch are read and written in different languages, as if each were alone."""
    tiny_translators.m2m100(tmp_path)
    examples = [{"text": text, "target_language": "de"} for text in SENTENCES]
    model = load_model(manifest(SOURCE, TARGET, examples=examples), tmp_path, 1)
    library = Library(tmp_path)
    sources, targets = ["en", "fr", "en", "de"], ["de", "en", "zh", "de"]
    expected = []
    for text, source, target in zip(SENTENCES, sources, targets, strict=True):
        library.tokenizer.src_lang = source
        expected.append(library.answer(text, forced_bos_token_id=library.tokenizer.get_lang_id(target)))
    assert ask(model, SENTENCES, source_language=sources, target_language=targets) == expected
    in_iso = [code.upper() for code in ("eng", "fra", "en", "ger")]
    assert ask(model, SENTENCES, source_language=in_iso, target_language=targets) == expected


def test_nllb_takes_its_own_codes_and_those_of_iso(tmp_path: Path) -> None:
    """A language with several scripts is the one that its ISO code means."""
    tiny_translators.nllb(tmp_path, "eng_Latn", "fra_Latn", "deu_Latn", "zho_Hant", "zho_Hans")
    examples = [{"text": text, "target_language": "fra_Latn"} for text in SENTENCES]
    model = load_model(manifest(TARGET, examples=examples), tmp_path, 1)
    library = Library(tmp_path)
    own = ["fra_Latn", "zho_Hans", "zho_Hant", "deu_Latn"]
    expected = [
        library.answer(text, forced_bos_token_id=library.tokenizer.convert_tokens_to_ids(code))
        for text, code in zip(SENTENCES, own, strict=True)
    ]
    assert ask(model, SENTENCES, target_language=own) == expected
    assert ask(model, SENTENCES, target_language=["fr", "zh", "zh-Hant", "de"]) == expected


def test_a_marian_model_with_several_targets_is_given_one_for_each_row(tmp_path: Path) -> None:
    """As the mark that the library wants before the text."""
    tiny_translators.marian(tmp_path, "deu", "fra")
    examples = [{"text": text, "target_language": "deu"} for text in SENTENCES]
    model = load_model(manifest(TARGET, examples=examples), tmp_path, 1)
    library = Library(tmp_path)
    expected = [
        library.answer(f">>{code}<< {text}") for text, code in zip(SENTENCES, ["deu", "fra", "fra", "deu"], strict=True)
    ]
    assert ask(model, SENTENCES, target_language=["de", "fra", "fr", "deu"]) == expected


def test_a_language_that_the_model_does_not_know_is_refused_with_some_that_it_knows(tmp_path: Path) -> None:
    """The library would take the token for unknown words instead."""
    tiny_translators.nllb(tmp_path, "eng_Latn", "fra_Latn")
    examples = [{"text": text, "target_language": "fra_Latn"} for text in SENTENCES]
    model = load_model(manifest(TARGET, examples=examples), tmp_path, 1)
    with pytest.raises(PenstockError, match=r"target_language: 'klingon' .* has eng_Latn, fra_Latn") as refused:
        ask(model, SENTENCES[:1], target_language=["klingon"])
    assert refused.value.status == 422


def test_a_model_with_several_languages_needs_a_target(tmp_path: Path) -> None:
    """Unless the folder has one."""
    tiny_translators.nllb(tmp_path, "eng_Latn", "fra_Latn")
    with pytest.raises(ModelMismatchError, match="target_language"):
        load_model(manifest(), tmp_path, 1)
    folder = tmp_path / "model"
    settings = transformers.GenerationConfig.from_pretrained(folder)
    library = Library(tmp_path)
    settings.forced_bos_token_id = library.tokenizer.convert_tokens_to_ids("fra_Latn")
    settings.save_pretrained(folder)
    model = load_model(manifest(), tmp_path, 1)
    expected = [library.answer(t, forced_bos_token_id=settings.forced_bos_token_id) for t in SENTENCES]
    assert ask(model, SENTENCES) == expected


def test_mbart_writes_the_folders_own_target_language_unless_another_is_sent(tmp_path: Path) -> None:
    """Its tokenizer names both languages."""
    tiny_translators.mbart(tmp_path, "de_DE", "ro_RO")
    library = Library(tmp_path)
    own, other = (library.tokenizer.convert_tokens_to_ids(code) for code in ("ro_RO", "fr_XX"))
    expected = [library.answer(text, forced_bos_token_id=own) for text in SENTENCES]
    assert ask(load_model(manifest(), tmp_path, 1), SENTENCES) == expected
    examples = [{"text": text, "target_language": "ro"} for text in SENTENCES]
    model = load_model(manifest(TARGET, examples=examples), tmp_path, 1)
    others = [library.answer(text, forced_bos_token_id=other) for text in SENTENCES]
    assert ask(model, SENTENCES, target_language=["fr"] * len(SENTENCES)) == others != expected


def test_a_long_answer_shows_its_progress(tmp_path: Path) -> None:
    """After each token, so that a long run does not pass for a hang."""
    tiny_translators.bart(tmp_path)
    model = load_model(manifest(), tmp_path, 1)
    told: list[None] = []
    model.tell_progress = lambda: told.append(None)
    model.run({"text": np.array([SENTENCES[0].encode()], object)})
    assert len(told) >= 5
