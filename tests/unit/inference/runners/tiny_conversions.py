"""Folders of tiny models with random weights that CTranslate2 has converted from those of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from ctranslate2.converters import TransformersConverter

from tests.unit.inference.runners import tiny_translators
from tests.unit.inference.runners.tiny_translators import SENTENCES, SIZES

_PIECES = ("source.spm", "target.spm", "tokenizer_config.json")


def marian(artifact: Path, *languages: str) -> Any:
    """Convert a Marian model, whose token to fill up is the last, as in those that there are."""
    return _converted(artifact, lambda folder: _marian(folder, *languages), _PIECES)


def t5(artifact: Path) -> Any:
    return _converted(artifact, _t5, ("tokenizer.json", "tokenizer_config.json"))


def nllb(artifact: Path, *languages: str) -> Any:
    return _converted(artifact, lambda folder: tiny_translators.nllb(folder, *languages), ("tokenizer.json",))


def _converted(artifact: Path, make: Callable[[Path], None], keep: tuple[str, ...]) -> Any:
    """Write a converted model into ``artifact / "model"``; return the tokenizer of the original."""
    original = artifact / "original"
    original.mkdir()
    make(original)
    TransformersConverter(str(original / "model"), copy_files=list(keep)).convert(str(artifact / "model"))
    return transformers.AutoTokenizer.from_pretrained(original / "model")


def _marian(folder: Path, *languages: str) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5), model_prefix=str(folder / "pieces"), vocab_size=48, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    spm = str(folder / "pieces.model")
    pieces = sentencepiece.SentencePieceProcessor(model_file=spm)
    tokens = ["</s>", "<unk>", *[f">>{code}<<" for code in languages]]
    tokens += [p for i in range(pieces.get_piece_size()) if (p := pieces.id_to_piece(i)) not in [*tokens, "<s>"]]
    tokens.append("<pad>")
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    tokenizer = transformers.MarianTokenizer(spm, spm, str(folder / "vocab.json"), model_max_length=40)
    pad = len(tokens) - 1
    config = transformers.MarianConfig(
        vocab_size=len(tokens),
        **SIZES | {"pad_token_id": pad, "eos_token_id": 0, "bos_token_id": None, "decoder_start_token_id": pad},
    )
    torch.manual_seed(0)
    transformers.MarianMTModel(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")


def _t5(folder: Path) -> None:
    """Write a T5 model that does not end its texts at once."""
    tiny_translators.t5(folder)
    model = transformers.T5ForConditionalGeneration.from_pretrained(folder / "model")
    with torch.no_grad():
        model.shared.weight[:2] = 0
    model.save_pretrained(folder / "model")
