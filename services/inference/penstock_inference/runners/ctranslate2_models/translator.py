"""Encoder-decoder models that turn a text into another: Marian, NLLB, M2M100, mBART, T5, BART, Pegasus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ctranslate2
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.ctranslate2_models.folder import most_tokens, read_config, read_languages
from penstock_inference.runners.ctranslate2_models.tokens import read_tokens
from penstock_inference.runners.languages import Languages
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError, tell_nobody
from penstock_inference.runners.texts import text_column

_TEXT, _SOURCE, _TARGET = "text", "source_language", "target_language"
#: Tokens of a text, if the folder does not say.
_MOST_TOKENS = 512
_DEFAULT_END = "</s>"
#: Rows that are translated together. The library shows no progress, so that a large batch would look like a hang.
_ROWS = 8


class TranslatorRunner:
    """Takes ``text`` and, if the model has several languages, ``source_language`` and ``target_language``."""

    def __init__(self, translator: Any, folder: Path, manifest: Manifest) -> None:
        self._translator = translator
        self.tell_progress: Callable[[], None] = tell_nobody
        parameters = parameters_of(manifest, "max_tokens", "beam_size", "compute_type")
        options = {"beam_size": parameters.beam_size, "max_decoding_length": parameters.max_tokens}
        self._options = {name: value for name, value in options.items() if value is not None}
        config = read_config(folder)
        self._end = str(config.get("eos_token") or _DEFAULT_END)
        self._library_ends = bool(config.get("add_source_eos"))
        self._tokens = read_tokens(folder, self._end)
        self._most_tokens = most_tokens(folder, _MOST_TOKENS)
        self._both, self._into = read_languages(folder)
        self.inputs = _inputs(self._both, self._into)
        _check_inputs(self.inputs, manifest)

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        named = {tensor.name: array for tensor, array in zip(self.inputs, inputs, strict=True) if array is not None}
        columns = {str(name): [element.decode() for element in array.tolist()] for name, array in named.items()}
        texts = columns[_TEXT]
        nothing = [""] * len(texts)
        rows = zip(texts, columns.get(_SOURCE, nothing), columns.get(_TARGET, nothing), strict=True)
        sources, prefixes = zip(*[self._row(*row) for row in rows], strict=True)
        answers: list[str] = []
        for start in range(0, len(texts), _ROWS):
            answers += self._translate(sources[start : start + _ROWS], prefixes[start : start + _ROWS])
            self.tell_progress()
        return {_TEXT: text_column(answers)}

    def changed_state(self) -> list[str]:
        return []  # the library's models keep nothing between calls

    def _translate(self, sources: Sequence[list[str]], prefixes: Sequence[list[str]]) -> list[str]:
        results = self._translator.translate_batch(
            list(sources),
            target_prefix=list(prefixes) if any(prefixes) else None,
            max_input_length=0,
            **self._options,
        )
        return [
            self._tokens.decode(result.hypotheses[0][len(prefix) :])
            for result, prefix in zip(results, prefixes, strict=True)
        ]

    def _row(self, text: str, source: str, target: str) -> tuple[list[str], list[str]]:
        """Return the tokens of a text, and those with which its translation begins."""
        if self._both:
            tokens = [_token(self._both, source, _SOURCE), *self._tokens.encode(text, whole=False), *self._ends()]
            prefix = [_token(self._both, target, _TARGET)]
        else:
            tokens = self._tokens.encode(text, whole=not self._library_ends)
            tokens = [_token(self._into, target, _TARGET), *tokens] if self._into else tokens
            prefix = []
        if len(tokens) > self._most_tokens:
            raise _invalid(
                _TEXT, f"the text has {len(tokens)} tokens, {self._most_tokens} are allowed; send it in parts"
            )
        return tokens, prefix

    def _ends(self) -> list[str]:
        return [] if self._library_ends else [self._end]


def load_translator(folder: Path, manifest: Manifest, settings: dict[str, Any]) -> TranslatorRunner:
    """Load a folder.

    Args:
        settings: of the library's model.

    Raises:
        ModelMismatchError: it lacks a file, or the manifest does not fit it.
    """
    return TranslatorRunner(ctranslate2.Translator(str(folder), **settings), folder, manifest)


def _inputs(both: Languages, into: Languages) -> list[FileTensor]:
    names = [_TEXT]
    if both:
        names += [_SOURCE, _TARGET]
    elif into:
        names.append(_TARGET)
    return [FileTensor(name, "BYTES", (-1,)) for name in names]


def _check_inputs(taken: list[FileTensor], manifest: Manifest) -> None:
    """A lone text would be bound to any lone input, and its language would be missing."""
    given = [tensor.name for tensor in model_tensors(manifest)]
    if len(taken) > 1 and set(given) != {tensor.name for tensor in taken}:
        raise ModelMismatchError(
            f"The folder translates between several languages and takes {', '.join(str(t.name) for t in taken)}; the "
            f"manifest gives {', '.join(given)}. Declare a language as a category, or as a constant."
        )


def _token(languages: Languages, name: str, field: str) -> str:
    return languages.token(languages.code(field, name))


def _invalid(field: str, what: str) -> PenstockError:
    return PenstockError(422, "invalid-input", f"{field}: {what}.")
