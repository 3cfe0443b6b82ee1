"""Models that read a text and write another: translation, summarization."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_inference.runners.languages import languages_of
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.runner import FileAnswer, FileTensor, tell_nobody
from penstock_inference.runners.texts import encoded
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.transformers_heads.each_token import after_each_token
from penstock_inference.runners.transformers_heads.generation_settings import settle_generation
from penstock_inference.runners.transformers_heads.pretrained import load_pretrained, load_weights

#: Tokens of a text that is read, if neither the tokenizer nor the model has a limit.
_DEFAULT_INPUT_TOKENS = 1024


def text_to_text(path: Path, manifest: Manifest, device: TorchDevice) -> TextToTextRunner:
    """Load a model whose output ``text`` is what it writes for the input ``text``.

    The input ``max_tokens`` bounds a row's answer. A model with several languages has the input ``target_language``, and
    ``source_language`` if its tokenizer marks that.

    Raises:
        ModelMismatchError: the manifest's parameters are not the model's.
    """
    return TextToTextRunner(path, manifest, device)


class TextToTextRunner:
    """See ``text_to_text``. An answer may be thousands of tokens long, so each counts as progress."""

    def __init__(self, path: Path, manifest: Manifest, device: TorchDevice) -> None:
        parameters = parameters_of(manifest, "task", "max_tokens", "truncate", "beam_size")
        self.tell_progress: Callable[[], None] = tell_nobody
        self._device = device.device
        self._model = load_weights(transformers.AutoModelForSeq2SeqLM, path, device, reorder=True)
        self._tokenizer = load_pretrained(transformers.AutoTokenizer, path)
        self._prefix, self._most_tokens = settle_generation(self._model, path, parameters)
        self._truncate = bool(parameters.truncate)
        self._longest = _longest(self._tokenizer, self._model.config)
        self._languages = languages_of(self._tokenizer)
        # M2M100, NLLB and mBART mark the source in the text and begin the answer with the target; Marian marks the target
        # in the text.
        self._has_sources = bool(self._languages) and hasattr(self._tokenizer, "src_lang")
        self._source = self._tokenizer.src_lang if self._has_sources else ""
        self._target = self._default_target() if self._has_sources else None
        if self._has_sources:
            self._model.generation_config.forced_bos_token_id = None
        self.inputs = [FileTensor("text", "BYTES", (-1,)), FileTensor("max_tokens", "INT32", (-1,), required=False)]
        if self._languages:
            self.inputs.append(FileTensor("target_language", "BYTES", (-1,), required=self._target is None))
        if self._has_sources:
            self.inputs.append(FileTensor("source_language", "BYTES", (-1,), required=False))

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        given = {tensor.name: array for tensor, array in zip(self.inputs, inputs, strict=True) if array is not None}
        texts = [self._prefix + element.decode() for element in given["text"].tolist()]
        bounds = self._bounds(given.get("max_tokens"), len(texts))
        targets = self._codes("target_language", given.get("target_language"))
        sources = self._codes("source_language", given.get("source_language"))
        if self._has_sources:
            tokens = self._tokenized_by_source(texts, sources or [self._source] * len(texts))
            first = self._first_tokens(targets, len(texts))
        else:
            marked = [f"{self._languages.token(target)} " for target in targets] or [""] * len(texts)
            tokens = self._tokenized([mark + text for mark, text in zip(marked, texts, strict=True)])
            first = []
        answers = np.empty(len(texts), dtype=np.object_)
        for bound in set(bounds):  # a bound is one of the whole batch, and beams differ if they are cut afterwards
            rows = [i for i in range(len(texts)) if bounds[i] == bound]
            answers[rows] = self._written([tokens[i] for i in rows], [first[i] for i in rows if first], bound)
        return {"text": encoded(answers)}

    def changed_state(self) -> list[str]:
        return []  # the library's models keep nothing between calls

    def _written(self, tokens: list[list[int]], first: list[int], bound: int) -> list[str]:
        padded = self._tokenizer.pad({"input_ids": tokens}, return_attention_mask=True, return_tensors="pt")
        begin = transformers.LogitsProcessorList([_FirstToken(first)] if first else [])
        answers = self._model.generate(
            **padded.to(self._device),
            max_new_tokens=bound,
            logits_processor=begin,
            stopping_criteria=after_each_token(self.tell_progress),
        )
        texts: list[str] = self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        return texts

    def _tokenized_by_source(self, texts: list[str], sources: list[str]) -> list[list[int]]:
        tokens: list[list[int]] = [[] for _ in texts]
        for source in sorted(set(sources)):
            self._tokenizer.src_lang = source
            rows = [i for i in range(len(texts)) if sources[i] == source]
            for i, row in zip(rows, self._tokenized([texts[i] for i in rows]), strict=True):
                tokens[i] = row
        return tokens

    def _tokenized(self, texts: list[str]) -> list[list[int]]:
        cut = {"truncation": True, "max_length": self._longest} if self._truncate else {}
        tokens: list[list[int]] = self._tokenizer(texts, verbose=False, **cut)["input_ids"]
        longest = max(map(len, tokens))
        if longest > self._longest:
            raise _invalid(
                f"text: it has {longest} tokens, the model reads {self._longest}; send it in parts, or set "
                "parameters.truncate: true in the manifest to have it cut"
            )
        return tokens

    def _bounds(self, given: NDArray[Any] | None, rows: int) -> list[int]:
        bounds: list[int] = [self._most_tokens] * rows if given is None else given.tolist()
        for bound in bounds:
            if not 1 <= bound <= self._most_tokens:
                raise _invalid(f"max_tokens: {bound} is not within 1 to {self._most_tokens}")
        return bounds

    def _codes(self, field: str, given: NDArray[Any] | None) -> list[str]:
        return [] if given is None else [self._languages.code(field, text.decode()) for text in given.tolist()]

    def _first_tokens(self, targets: list[str], rows: int) -> list[int]:
        if not targets:
            return [] if self._target is None else [self._target] * rows
        return [self._tokenizer.convert_tokens_to_ids(self._languages.token(target)) for target in targets]

    def _default_target(self) -> int | None:
        """Return the token with which an answer begins in the folder's own target language; None if it has none."""
        forced: int | None = self._model.generation_config.forced_bos_token_id
        if self._tokenizer.tgt_lang is None:
            return forced
        own = self._languages.code("tgt_lang", self._tokenizer.tgt_lang)
        return int(self._tokenizer.convert_tokens_to_ids(self._languages.token(own)))


class _FirstToken(transformers.LogitsProcessor):
    """Begins each row's answer with its own token, as ``forced_bos_token_id`` does for a whole batch."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] != 1:
            return scores
        beams = len(scores) // len(self._tokens)
        tokens = torch.tensor(self._tokens, device=scores.device).repeat_interleave(beams)
        forced = torch.full_like(scores, -torch.inf)
        return forced.scatter(1, tokens[:, None], 0.0)


def _longest(tokenizer: Any, config: Any) -> int:
    """Return the most tokens that the model reads of a text."""
    positions = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
    longest = min(tokenizer.model_max_length, positions)
    return int(longest) if longest < transformers.tokenization_utils_base.LARGE_INTEGER else _DEFAULT_INPUT_TOKENS


def _invalid(detail: str) -> PenstockError:
    return PenstockError(422, "invalid-input", f"{detail}.")
