"""Texts to the tokens of a translator and back: ``tokenizer.json``, or SentencePiece as Marian's and T5's have it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import sentencepiece
import tokenizers

from penstock_inference.runners.runner import ModelMismatchError

_SOURCE_PIECES = ("source.spm", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model")
_TARGET_PIECES = "target.spm"


class Tokens(Protocol):
    """The tokens of a translator."""

    def encode(self, text: str, *, whole: bool) -> list[str]:
        """Return the tokens of a text; with those that begin and end it if ``whole``."""
        ...

    def decode(self, tokens: list[str]) -> str:
        """Return the text of tokens, without those that are not text."""
        ...


def read_tokens(folder: Path, end: str) -> Tokens:
    """Return the tokenizer of a folder.

    Args:
        end: the token that ends a text, which SentencePiece does not add.

    Raises:
        ModelMismatchError: there is none.
    """
    if (folder / "tokenizer.json").exists():
        return _Tokenizer(folder / "tokenizer.json")
    source = next((folder / name for name in _SOURCE_PIECES if (folder / name).exists()), None)
    if source is None:
        raise ModelMismatchError(
            f"{folder.name} has no tokenizer: neither tokenizer.json nor {', '.join(_SOURCE_PIECES)}. Copy it from the "
            "folder that was converted (--copy_files of ct2-transformers-converter); Marian's are source.spm and target.spm."
        )
    target = folder / _TARGET_PIECES
    return _Pieces(source, target if target.exists() else source, end)


class _Tokenizer:
    def __init__(self, path: Path) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, text: str, *, whole: bool) -> list[str]:
        return list(self._tokenizer.encode(text, add_special_tokens=whole).tokens)

    def decode(self, tokens: list[str]) -> str:
        known = [self._tokenizer.token_to_id(token) for token in tokens]
        return str(self._tokenizer.decode([number for number in known if number is not None]))


class _Pieces:
    def __init__(self, source: Path, target: Path, end: str) -> None:
        self._source = sentencepiece.SentencePieceProcessor(model_file=str(source))
        self._target = sentencepiece.SentencePieceProcessor(model_file=str(target))
        self._end = end
        no_text = [i for i in range(self._target.get_piece_size()) if _is_no_text(self._target, i)]
        self._no_text = {end, *[self._target.id_to_piece(i) for i in no_text]}

    def encode(self, text: str, *, whole: bool) -> list[str]:
        pieces: list[str] = self._source.encode(text, out_type=str)
        return [*pieces, self._end] if whole else pieces

    def decode(self, tokens: list[str]) -> str:
        return str(self._target.decode_pieces([token for token in tokens if token not in self._no_text]))


def _is_no_text(model: sentencepiece.SentencePieceProcessor, number: int) -> bool:
    return bool(model.is_control(number) or model.is_unknown(number))
