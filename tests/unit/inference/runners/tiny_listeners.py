"""Folders of tiny models with random weights that turn speech into text."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch
import transformers

#: Seconds that the Whisper of these tests hears at once.
WINDOW_SECONDS = 2
LANGUAGES = ["en", "de", "fr"]


def whisper(folder: Path, *, multilingual: bool = True) -> None:
    letters = {letter: i for i, letter in enumerate([*string.ascii_lowercase, "Ġ"])}
    tokenizer = transformers.WhisperTokenizer(vocab=letters, merges=[])
    named = ["<|endoftext|>", "<|startoftranscript|>", *[f"<|{language}|>" for language in LANGUAGES]]
    named += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": named})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(WINDOW_SECONDS * 50 + 1)])
    ids = dict(zip(named, tokenizer.convert_tokens_to_ids(named), strict=True))
    end = ids["<|endoftext|>"]
    config = transformers.WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=16, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        max_source_positions=WINDOW_SECONDS * 50, max_target_positions=24, init_std=0.6,
        decoder_start_token_id=ids["<|startoftranscript|>"], pad_token_id=end, bos_token_id=end, eos_token_id=end,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.WhisperForConditionalGeneration(config)
    settings: dict[str, Any] = {
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "is_multilingual": multilingual,
        "max_initial_timestamp_index": 20,
        "return_timestamps": True,
        "max_length": 24,
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "pad_token_id": end,
        "bos_token_id": end,
        "eos_token_id": end,
    }
    if multilingual:
        settings["lang_to_id"] = {f"<|{language}|>": ids[f"<|{language}|>"] for language in LANGUAGES}
        settings["task_to_id"] = {task: ids[f"<|{task}|>"] for task in ("translate", "transcribe")}
    model.save_pretrained(folder / "model")
    transformers.GenerationConfig(**settings).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    extractor = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=WINDOW_SECONDS)
    extractor.save_pretrained(folder / "model")


def wav2vec2(folder: Path, *, mask: bool, family: str = "Wav2Vec2") -> None:
    """Write a wav2vec 2.0, or one of a family after it; with ``mask`` it is of the kind that padding does not change."""
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEF"]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokens), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16, 16, 16), conv_kernel=(10, 8, 4), conv_stride=(10, 8, 4), num_feat_extract_layers=3,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, feat_extract_norm="layer" if mask else "group",
        do_stable_layer_norm=mask, initializer_range=1.0, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForCTC")(config)
    model.lm_head.bias.data[1:4] = -1000.0  # <s>, </s> and <unk> are not heard
    model.lm_head.bias.data[4] = 3.0  # words end now and then
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=mask).save_pretrained(folder / "model")
