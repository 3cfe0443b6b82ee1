"""Folders of spaCy, whose pipelines find entities: names of people, places, organisations, and the like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import spacy.util
from numpy.typing import NDArray
from spacy.language import Language

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError
from penstock_inference.runners.texts import json_column, texts

ENTITIES = "entities"

#: Components that have no effect on entities, and are not loaded.
_WITHOUT_EFFECT = {"attribute_ruler", "lemmatizer", "morphologizer", "senter", "tagger", "trainable_lemmatizer"}
#: Components that may be in a pipeline; sentence boundaries, which a parser finds, are also those of entities.
_COMPONENTS = {*_WITHOUT_EFFECT, "ner", "parser", "sentencizer", "tok2vec"}
#: Functions that a configuration may name. All are spaCy's own, compute with arrays and read no files.
_FUNCTIONS = {
    "@architectures": re.compile(
        r"spacy\.(CharacterEmbed|HashEmbedCNN|MaxoutWindowEncoder|MishWindowEncoder|MultiHashEmbed|Tagger|Tok2Vec"
        r"|Tok2VecListener|TransitionBasedParser)\.v[12]"
    ),
    "@scorers": re.compile(r"spacy\.[a-z_]+_scorer\.v[12]"),
    "@tokenizers": re.compile(r"spacy\.Tokenizer\.v1"),
    "@vectors": re.compile(r"spacy\.Vectors\.v1"),
}
#: Of a text; a parser takes about a gigabyte for 100,000 of them.
_CHARACTERS = 100_000
_LANGUAGE = re.compile(r"[a-z]{2,3}")


class SpacyRunner:
    """Takes texts and gives a JSON list of ``{text, label, start, end}`` for each, in their order; counts characters."""

    def __init__(self, pipeline: Language) -> None:
        self._pipeline = pipeline
        self.inputs = [FileTensor(None)]

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        [column] = inputs
        assert column is not None
        rows = texts(np.asarray(column)).ravel().tolist()
        for text in rows:
            if len(text) > _CHARACTERS:
                raise PenstockError(
                    422, "invalid-input", f"A text has {len(text):,} characters, {_CHARACTERS:,} are read; send parts."
                )
        # What is learned of new words is forgotten afterwards; else the memory would grow with each of them.
        with self._pipeline.memory_zone():
            return {ENTITIES: json_column(list(map(_entities, self._pipeline.pipe(rows))))}

    def changed_state(self) -> list[str]:
        return []


def _entities(document: Any) -> list[dict[str, Any]]:
    return [
        {"text": found.text, "label": found.label_, "start": found.start_char, "end": found.end_char}
        for found in document.ents
    ]


def load(path: Path, manifest: Manifest, threads: int) -> SpacyRunner:
    """Load the folder that ``Language.to_disk`` writes.

    Raises:
        ModelMismatchError: its configuration names code that is not spaCy's own, or its pipeline finds no entities.
    """
    config = check_config(path)
    pipeline = spacy.load(path, exclude=[name for name, factory in config.items() if factory in _WITHOUT_EFFECT])
    return SpacyRunner(pipeline)


def check_config(path: Path) -> dict[str, str]:
    """Check that a folder's ``config.cfg`` names only what is served; return its components' factories by name.

    spaCy's configurations name functions that are registered by any installed package, and packages to import.

    Raises:
        ModelMismatchError: naming what is not served.
    """
    if not (path / "config.cfg").is_file():
        raise ModelMismatchError(
            f"{path.name} is not a folder of spaCy: it lacks config.cfg. Save it with nlp.to_disk."
        )
    # This only reads: variables, which can stand for whole sections, are filled in, and no function is called.
    config = spacy.util.load_config(path / "config.cfg", interpolate=True)
    language = config.get("nlp", {}).get("lang")
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise ModelMismatchError(f"config.cfg: nlp.lang: {language!r} is not a language of spaCy, such as en.")
    _check_functions("nlp", config["nlp"])
    factories = {}
    for name, component in config.get("components", {}).items():
        factory = component.get("factory")
        if factory not in _COMPONENTS:
            raise ModelMismatchError(
                f"config.cfg: components.{name}.factory: {factory!r} is not served; those that are: "
                f"{', '.join(sorted(_COMPONENTS))}. Remove the component with nlp.remove_pipe and save the pipeline again."
            )
        _check_functions(f"components.{name}", component)
        factories[name] = factory
    if "ner" not in factories.values():
        raise ModelMismatchError("config.cfg: the pipeline has no component ner, so it finds no entities.")
    return factories


def _check_functions(where: str, value: Any) -> None:
    """Refuse a function that is not known, wherever it is."""
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key.startswith("@") and not (key in _FUNCTIONS and _FUNCTIONS[key].fullmatch(str(inner))):
            raise ModelMismatchError(
                f"config.cfg: {where}: {key} = {inner!r} is not served; only spaCy's own networks are."
            )
        if key == "source":
            raise ModelMismatchError(
                f"config.cfg: {where}: a source is another package; save the whole pipeline instead."
            )
        _check_functions(f"{where}.{key}", inner)
