"""Folders of spaCy: entities are the pipeline's own, and a configuration that names anything else is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import spacy as library
from spacy.language import Language
from spacy.training import Example

from penstock_common.errors import PenstockError
from penstock_common.file_kinds import SPACY, file_kind
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.runners import spacy
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.signatures import spacy as signature

TEXTS = ["Ada met Bob in Köln 😀 with Ada.", "Nobody was there.", "", "Bob saw Ada."]
MANIFEST = Manifest(
    Format.SPACY, "model", Task.TENSOR, [Field("text", FieldKind.TEXT, "BYTES")], [Output("entities", "BYTES")]
)


@pytest.fixture(scope="module")
def pipeline() -> Language:
    """A pipeline that has learned two names and a city, with a component that has no effect on entities."""
    learned = library.blank("en")
    for name in ("sentencizer", "ner", "senter"):
        learned.add_pipe(name)
    found = {"entities": [(0, 3, "PERSON"), (8, 11, "PERSON"), (15, 19, "GPE"), (27, 30, "PERSON")]}
    examples = [Example.from_dict(learned.make_doc(TEXTS[0]), found)]
    examples.append(Example.from_dict(learned.make_doc(TEXTS[1]), {"entities": []}))
    optimizer = learned.initialize(lambda: examples)
    for _ in range(30):
        learned.update(examples, sgd=optimizer)
    return learned


@pytest.fixture
def folder(pipeline: Language, tmp_path: Path) -> Path:
    pipeline.to_disk(tmp_path / "model")
    return tmp_path / "model"


def column(*rows: str) -> np.ndarray[tuple[int, ...], np.dtype[np.object_]]:
    array = np.empty(len(rows), dtype=np.object_)
    array[:] = [row.encode() for row in rows]
    return array


def test_entities_are_those_of_the_pipeline(folder: Path, pipeline: Language) -> None:
    """In a batch and alone; positions count characters of the text that was sent."""
    runner = spacy.load(folder, MANIFEST, 1)
    answer = runner.run([column(*TEXTS)])
    assert isinstance(answer, dict)
    found = [json.loads(row) for row in answer["entities"]]
    for text, entities, document in zip(TEXTS, found, pipeline.pipe(TEXTS), strict=True):
        assert [(e["text"], e["label"]) for e in entities] == [(e.text, e.label_) for e in document.ents]
        assert all(text[e["start"] : e["end"]] == e["text"] for e in entities)
    assert [(e["text"], e["label"]) for e in found[0]][-1] == ("Ada", "PERSON")
    alone = runner.run([column(TEXTS[3])])
    assert isinstance(alone, dict) and alone["entities"][0] == answer["entities"][3]


def test_only_what_has_an_effect_on_entities_is_loaded(folder: Path) -> None:
    """The rest would cost memory and time."""
    assert spacy.load(folder, MANIFEST, 1)._pipeline.pipe_names == ["sentencizer", "ner"]


def test_new_words_are_not_kept(folder: Path) -> None:
    """The memory of a process does not grow with what it is asked."""
    runner = spacy.load(folder, MANIFEST, 1)
    runner.run([column("Ada")])
    before = len(runner._pipeline.vocab.strings)
    runner.run([column(" ".join(f"word{n}" for n in range(1000)))])
    assert len(runner._pipeline.vocab.strings) == before


def test_a_text_that_is_too_long_is_refused(folder: Path) -> None:
    """422 names the bound."""
    with pytest.raises(PenstockError, match="A text has 100,001 characters, 100,000 are read") as refused:
        spacy.load(folder, MANIFEST, 1).run([column("x" * 100_001)])
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('lang = "en"', 'lang = "../en"', r"nlp\.lang: '../en' is not a language"),
        (
            "before_creation = null",
            'before_creation = {"@callbacks":"x.v1"}',
            r"nlp\.before_creation: @callbacks = 'x\.v1'",
        ),
        ('factory = "senter"', 'factory = "evil"', r"components\.senter\.factory: 'evil' is not served"),
        ('factory = "senter"', 'source = "other_package"', r"components\.senter\.factory: None is not served"),
        ('factory = "senter"', 'factory = "senter"\nsource = "p"', r"components\.senter: a source is another package"),
        ('"spacy.HashEmbedCNN.v2"', '"spacy-transformers.TransformerModel.v3"', "TransformerModel.v3' is not served"),
        ('"spacy.TransitionBasedParser.v2"', '"spacy.TransitionBasedParser.v2.x"', "is not served; only spaCy's own"),
        ('factory = "ner"', 'factory = "sentencizer"', "has no component ner"),
    ],
)
def test_a_configuration_may_not_name_other_code(old: str, new: str, named: str, folder: Path) -> None:
    """Registered functions of other packages, packages to import, and components that are not known."""
    path = folder / "config.cfg"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ModelMismatchError, match=named):
        spacy.load(folder, MANIFEST, 1)


def test_a_section_that_a_variable_stands_for_is_checked_too(folder: Path) -> None:
    """A variable may bring in a section of the configuration that is otherwise not used."""
    path = folder / "config.cfg"
    text = re.sub(r"after_creation = null", "after_creation = ${hidden}", path.read_text(), count=1)
    path.write_text(text + '\n[hidden]\n@callbacks = "x.v1"\n')
    with pytest.raises(ModelMismatchError, match=r"nlp\.after_creation: @callbacks = 'x\.v1' is not served"):
        spacy.load(folder, MANIFEST, 1)


def test_another_folder_is_not_one_of_spacy(tmp_path: Path) -> None:
    """The reason says how to make one."""
    with pytest.raises(ModelMismatchError, match=r"lacks config\.cfg\. Save it with nlp\.to_disk"):
        spacy.load(tmp_path, MANIFEST, 1)


def test_a_folder_is_recognised_and_has_a_signature(folder: Path) -> None:
    """For the import of a model: a text in, entities out."""
    assert file_kind(folder) is SPACY
    found = signature.read(folder)
    assert [(field.name, field.kind) for field in found.inputs] == [("text", FieldKind.TEXT)]
    assert found.outputs is not None and [output.name for output in found.outputs] == ["entities"]
