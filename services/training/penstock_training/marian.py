"""A small Marian: its tokenizer, its network, and what it writes.

Marian (marian-nmt.github.io) is the encoder-decoder of the OPUS translators; ``transformers`` has it as ``MarianMTModel``.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from torch import Tensor

#: Tokens of a text, and of its translation.
MAX_TOKENS = 64
_PIECES = 96
_WIDTH = 128
_SPECIAL = ["<pad>", "</s>", "<unk>"]
_PAD, _END = 0, 1


def marian_tokenizer(sources: Sequence[str], targets: Sequence[str]) -> Any:
    """Learn the pieces of two languages from their texts, and return a tokenizer with one vocabulary for both."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tokens = list(_SPECIAL)
        for name, texts in (("source", sources), ("target", targets)):
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(texts),
                model_prefix=str(folder / name),
                vocab_size=_PIECES,
                hard_vocab_limit=False,
                num_threads=1,
                minloglevel=2,
            )
            pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / f"{name}.model"))
            tokens += [pieces.id_to_piece(i) for i in range(pieces.get_piece_size())]
        vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
        (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        source, target, both = (str(folder / name) for name in ("source.model", "target.model", "vocab.json"))
        tokenizer: Any = transformers.MarianTokenizer  # the library's annotation of its first argument is wrong
        with warnings.catch_warnings():
            # It only normalizes punctuation, of which numbers have none.
            warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")
            return tokenizer(source, target, both, model_max_length=MAX_TOKENS)


def marian_model(tokens: int) -> Any:
    """Return a network with random weights, two layers on either side."""
    config = transformers.MarianConfig(
        vocab_size=tokens,
        d_model=_WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=4 * _WIDTH,
        decoder_ffn_dim=4 * _WIDTH,
        max_position_embeddings=MAX_TOKENS,
        dropout=0.0,
        # Vectors of tokens as large as those of positions, or the network hardly sees the tokens.
        init_std=_WIDTH**-0.5,
        scale_embedding=True,
        pad_token_id=_PAD,
        eos_token_id=_END,
        forced_eos_token_id=_END,
        decoder_start_token_id=_PAD,
    )
    return transformers.MarianMTModel(config)


def padded(tokens: Sequence[Sequence[int]], value: int = _PAD) -> Tensor:
    """Return ``int64 [rows, longest]``."""
    rows = [torch.tensor(row) for row in tokens]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def translated(model: Any, tokenizer: Any, tokens: Sequence[Sequence[int]]) -> list[str]:
    """Return what a model writes for some texts, always with the likeliest token."""
    ids = padded(tokens)
    mask = (ids != _PAD).long()
    answers = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=MAX_TOKENS - 1, do_sample=False)
    texts: list[str] = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return texts
