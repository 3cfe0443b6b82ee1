"""Folders of CTranslate2 answer as the library does by itself; the models are tiny and have random weights."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.file_kinds import CTRANSLATE2, file_kind
from penstock_common.manifest import Format, Manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.signatures.read import read_signature
from penstock_inference.versions.load_model import load_model
from tests.unit.inference.runners import tiny_conversions

TEXTS = ["anna lives in graz", "a town with a cold river", "graz"]
TEXT = "{name: text, kind: text, datatype: BYTES}"
INTO = "{name: target_language, kind: category, datatype: BYTES, categories: [deu, fra]}"
NLLB = ("eng_Latn", "deu_Latn", "fra_Latn")
SOURCE, TARGET = (
    f"{{name: {name}, kind: category, datatype: BYTES, categories: [{', '.join(NLLB)}]}}"
    for name in ("source_language", "target_language")
)


def manifest(*inputs: str, parameters: str = "{max_tokens: 12}") -> Manifest:
    read = parse_manifest(
        f"""
format: ctranslate2
file: model
task: tensor
inputs: [{", ".join(inputs or [TEXT])}]
outputs: [{{name: text, datatype: BYTES}}]
parameters: {parameters}
batching: {{max_batch_size: 4}}
examples: []
"""
    )
    check_manifest_values(read)
    return read


def ask(model: LoadedModel, **columns: list[str]) -> list[str]:
    named = {name: np.array([text.encode() for text in texts], object) for name, texts in columns.items()}
    return [answer.decode() for answer in model.run(named)[0].tolist()]


def direct(
    folder: Path, tokenizer: Any, rows: list[list[int]], prefixes: list[list[str]] | None = None, **options: Any
) -> list[str]:
    """Return what the library gives for rows of ids, decoded by the original's tokenizer."""
    translator = ctranslate2.Translator(str(folder / "model"), intra_threads=1)
    sources = [tokenizer.convert_ids_to_tokens(ids) for ids in rows]
    results = translator.translate_batch(sources, target_prefix=prefixes, max_decoding_length=12, **options)
    written = [result.hypotheses[0] for result in results]
    return [tokenizer.decode(tokenizer.convert_tokens_to_ids(t), skip_special_tokens=True) for t in written]


@pytest.mark.parametrize("make", [tiny_conversions.marian, tiny_conversions.t5])
def test_a_text_becomes_what_the_library_makes_of_it(make: Callable[..., Any], tmp_path: Path) -> None:
    """By SentencePiece or ``tokenizer.json``, alone and in a batch; three texts have several answers."""
    tokenizer = make(tmp_path)
    model = load_model(manifest(), tmp_path, 1)
    expected = direct(tmp_path, tokenizer, [tokenizer(text).input_ids for text in TEXTS])
    assert ask(model, text=TEXTS) == expected
    assert [ask(model, text=[text])[0] for text in TEXTS] == expected
    assert len(set(expected)) > 1


def test_a_large_batch_shows_its_progress(tmp_path: Path) -> None:
    """After every eight rows, each of which is translated as in a small batch."""
    tiny_conversions.marian(tmp_path)
    model = load_model(manifest(), tmp_path, 1)
    expected = ask(model, text=TEXTS)
    told: list[int] = []
    model.tell_progress = lambda: told.append(1)
    assert ask(model, text=TEXTS * 6) == expected * 6
    assert len(told) == 3


def test_parameters_reach_the_library(tmp_path: Path) -> None:
    """One beam, and other tokens at most, give what the library gives with them."""
    tokenizer = tiny_conversions.marian(tmp_path)
    model = load_model(manifest(parameters="{max_tokens: 12, beam_size: 1, compute_type: int8}"), tmp_path, 1)
    translator = ctranslate2.Translator(str(tmp_path / "model"), compute_type="int8", intra_threads=1)
    sources = [tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) for text in TEXTS]
    results = translator.translate_batch(sources, beam_size=1, max_decoding_length=12)
    expected = [tokenizer.decode(tokenizer.convert_tokens_to_ids(r.hypotheses[0])) for r in results]
    assert ask(model, text=TEXTS) == expected


def test_a_language_begins_a_text(tmp_path: Path) -> None:
    """Marian names the target before the text."""
    tokenizer = tiny_conversions.marian(tmp_path, "deu", "fra")
    model = load_model(manifest(TEXT, INTO), tmp_path, 1)
    rows = [tokenizer(f">>{code}<< {text}").input_ids for code in ("deu", "fra") for text in TEXTS]
    expected = direct(tmp_path, tokenizer, rows)
    assert ask(model, text=TEXTS * 2, target_language=["deu"] * 3 + ["fra"] * 3) == expected
    assert expected[:3] != expected[3:]


def test_languages_begin_a_text_and_its_translation(tmp_path: Path) -> None:
    """NLLB names the source before the text and the target before the translation, which is not a part of it."""
    tokenizer = tiny_conversions.nllb(tmp_path, *NLLB)
    model = load_model(manifest(TEXT, SOURCE, TARGET), tmp_path, 1)
    rows = [tokenizer(TEXTS[0]).input_ids] * 2
    expected = direct(tmp_path, tokenizer, rows, [[NLLB[1]], [NLLB[2]]])
    assert ask(model, text=TEXTS[:1] * 2, source_language=[NLLB[0]] * 2, target_language=list(NLLB[1:])) == expected
    assert expected[0] != expected[1]
    with pytest.raises(PenstockError, match="target_language: 'xx' is not a language of this model"):
        ask(model, text=["graz"], source_language=["eng_Latn"], target_language=["xx"])


def test_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """It is not cut in silence; the refusal names the bound of the tokenizer."""
    tiny_conversions.marian(tmp_path)
    model = load_model(manifest(), tmp_path, 1)
    with pytest.raises(PenstockError, match=r"text: the text has \d+ tokens, 40 are allowed") as refused:
        ask(model, text=["graz " * 100])
    assert (refused.value.status, refused.value.code) == (422, "invalid-input")


@pytest.mark.parametrize(
    ("languages", "inputs", "parameters", "says"),
    [
        (NLLB, [TEXT], "{}", "takes text, source_language, target_language"),
        (NLLB, [TEXT, SOURCE, TARGET], "{language: en}", "parameters.language"),
        (NLLB, [TEXT, SOURCE, TARGET], "{compute_type: int3}", "'int3' is none of default"),
    ],
)
def test_what_does_not_fit_is_refused(
    languages: tuple[str, ...], inputs: list[str], parameters: str, says: str, tmp_path: Path
) -> None:
    """Languages that are not declared, and parameters that the folder does not have."""
    tiny_conversions.nllb(tmp_path, *languages)
    with pytest.raises(ModelMismatchError, match=says):
        load_model(manifest(*inputs, parameters=parameters), tmp_path, 1)


def test_a_folder_without_its_tokenizer_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Converters do not copy it by themselves."""
    tiny_conversions.nllb(tmp_path, *NLLB)
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises(ModelMismatchError, match=r"neither tokenizer.json nor .* Copy it .*--copy_files"):
        load_model(manifest(TEXT, SOURCE, TARGET), tmp_path, 1)


def test_a_folder_shows_its_signature(tmp_path: Path) -> None:
    """It is recognised by its content, and its languages are categories."""
    tiny_conversions.nllb(tmp_path, *NLLB)
    assert file_kind(tmp_path / "model") is CTRANSLATE2
    signature = read_signature(tmp_path / "model", Format.CTRANSLATE2, [])
    assert [(found.name, found.categories) for found in signature.inputs] == [
        ("text", None),
        ("source_language", sorted(NLLB)),
        ("target_language", sorted(NLLB)),
    ]
    assert [output.name for output in signature.outputs or []] == ["text"]


def test_another_kind_of_model_is_named(tmp_path: Path) -> None:
    """Models that only go on with a text are CTranslate2's too, and are not served."""
    (tmp_path / "model").mkdir()
    name = b"TransformerDecoderModelSpec\0"
    (tmp_path / "model" / "model.bin").write_bytes(struct.pack("<IH", 6, len(name)) + name + bytes(10))
    with pytest.raises(ModelMismatchError, match=r"TransformerDecoderModelSpec.*Whisper and encoder-decoder"):
        load_model(manifest(), tmp_path, 1)
    with pytest.raises(ModelMismatchError, match="TransformerDecoderModelSpec"):
        read_signature(tmp_path / "model", Format.CTRANSLATE2, [])


async def test_it_runs_in_a_confined_process(tmp_path: Path) -> None:
    """Forked from a parent that has the library, with two threads, without files of others and without network."""
    tiny_conversions.marian(tmp_path)
    expected = ask(load_model(manifest(), tmp_path, 1), text=TEXTS)
    forker = Forker(run_seconds=30.0, load_seconds=60.0)
    try:
        process = await forker.start(manifest(), tmp_path, threads=2, memory_bytes=2**30)
        rows = np.array([text.encode() for text in TEXTS], object)
        (answers,) = await process.run([{"text": rows}], len(TEXTS))
        assert [answer.decode() for answer in answers.tolist()] == expected
    finally:
        await forker.close()
