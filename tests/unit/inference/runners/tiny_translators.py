"""Folders of tiny models with random weights that read a text and write another, one for each family."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SENTENCES = [
    "anna lives in graz",
    "graz is a town",
    "anna works there and lives in a town with a cold river",
    "the river is cold",
]
SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 40,
    "init_std": 1.0,  # so that answers depend on the texts
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "decoder_start_token_id": 0,
}


def marian(folder: Path, *languages: str) -> None:
    """Write a Marian model; ``languages`` are those that a text may name as its target."""
    model = _pieces(folder / "pieces")
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    tokens = ["<pad>", "</s>", "<unk>", *[f">>{code}<<" for code in languages]]
    tokens += [piece for piece in pieces if piece not in tokens]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    spm = str(folder / "pieces.model")
    tokenizer = transformers.MarianTokenizer(spm, spm, str(folder / "vocab.json"), model_max_length=40)
    config = transformers.MarianConfig(vocab_size=len(tokens), **SIZES)
    _save(folder / "model", transformers.MarianMTModel, config, tokenizer)


def m2m100(folder: Path) -> None:
    model = _pieces(folder / "pieces")
    tokens = ["<pad>", "</s>", "<s>", "<unk>"]
    tokens += [p for i in range(model.get_piece_size()) if (p := model.id_to_piece(i)) not in tokens]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    tokenizer = transformers.M2M100Tokenizer(
        str(folder / "vocab.json"), str(folder / "pieces.model"), model_max_length=40
    )
    config = transformers.M2M100Config(vocab_size=len(tokens) + 108, **SIZES)
    _save(folder / "model", transformers.M2M100ForConditionalGeneration, config, tokenizer)


def nllb(folder: Path, *languages: str) -> None:
    letters = sorted({letter for word in _words() for letter in word})
    vocabulary = {t: i for i, t in enumerate(["<pad>", "</s>", "<s>", "<unk>", "<mask>", "▁", *letters])}
    tokenizer = transformers.NllbTokenizer(
        vocabulary, [], extra_special_tokens=list(languages), model_max_length=64, src_lang=languages[0]
    )
    config = transformers.M2M100Config(vocab_size=len(tokenizer), **SIZES | {"max_position_embeddings": 64})
    _save(folder / "model", transformers.M2M100ForConditionalGeneration, config, tokenizer)


def t5(folder: Path, *, multilingual: bool = False, **config: Any) -> None:
    """Write a T5, or an mT5."""
    model, settings_of, factor = transformers.T5ForConditionalGeneration, transformers.T5Config, 20.0
    if multilingual:
        model, settings_of, factor = transformers.MT5ForConditionalGeneration, transformers.MT5Config, 3.0
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *[(f"▁{word}", -2.0) for word in _words()]]
    tokenizer = transformers.T5Tokenizer(vocabulary, extra_ids=0, model_max_length=40)
    settings = settings_of(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, initializer_factor=factor,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0, **config,
    )  # fmt: skip
    _save(folder / "model", model, settings, tokenizer)


def mbart(folder: Path, source: str, target: str) -> None:
    vocabulary = [
        ("<s>", 0.0),
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *[(f"▁{word}", -2.0) for word in _words()],
    ]
    tokenizer = transformers.MBart50Tokenizer(vocab=vocabulary, src_lang=source, tgt_lang=target, model_max_length=40)
    ids = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}
    config = transformers.MBartConfig(vocab_size=len(tokenizer), **SIZES | ids)
    _save(folder / "model", transformers.MBartForConditionalGeneration, config, tokenizer)


def bart(folder: Path) -> None:
    config = transformers.BartConfig(vocab_size=len(_words()) + 3, **SIZES)
    _save(folder / "model", transformers.BartForConditionalGeneration, config, _word_tokenizer())


def pegasus(folder: Path) -> None:
    config = transformers.PegasusConfig(vocab_size=len(_words()) + 3, **SIZES)
    _save(folder / "model", transformers.PegasusForConditionalGeneration, config, _word_tokenizer())


#: One of each family that has one language for its texts and one for its answers.
FAMILIES: dict[str, Callable[[Path], None]] = {
    "marian": marian,
    "t5": t5,
    "mt5": functools.partial(t5, multilingual=True),
    "bart": bart,
    "pegasus": pegasus,
}


def _words() -> list[str]:
    return sorted({word for sentence in SENTENCES for word in sentence.split()})


def _word_tokenizer() -> Any:
    tokens = ["<pad>", "</s>", "<unk>", *_words()]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=40,
    )


def _pieces(prefix: Path) -> Any:
    """Train a model of sentencepiece and write it to ``PREFIX.model``."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 5), model_prefix=str(prefix), vocab_size=48, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")


def _save(folder: Path, kind: Any, config: Any, tokenizer: Any) -> None:
    torch.manual_seed(0)
    model = kind(config)
    # Settings that a folder may have; do_sample is there to be ignored.
    model.generation_config.update(
        max_length=16, min_length=6, num_beams=3, no_repeat_ngram_size=2, early_stopping=True, do_sample=True
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
