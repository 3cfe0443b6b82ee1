"""Models that read texts: classifiers, entities and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.hugging_face import read_json
from penstock_inference.runners.parameters import parameters_of
from penstock_inference.runners.texts import json_column
from penstock_inference.runners.torch_device import TorchDevice
from penstock_inference.runners.transformers_heads.classifier import check_labels, classifier
from penstock_inference.runners.transformers_heads.pooling import pooling
from penstock_inference.runners.transformers_heads.pretrained import load_pretrained, load_weights
from penstock_inference.runners.transformers_heads.runner import Run, TransformersRunner, bytes_inputs

Arrays = Sequence[NDArray[Any] | None]

_TOKENS = "tokens"


def text_classifier(path: Path, manifest: Manifest, device: TorchDevice) -> TransformersRunner:
    """Load a model that gives ``probabilities`` and ``logits`` for a text, or for a pair of two.

    Raises:
        ModelMismatchError: the labels or the inputs are not the manifest's, or it sets parameters.
    """
    parameters_of(manifest)
    inputs = bytes_inputs(manifest, 2, "one text, or a pair")
    model = load_weights(transformers.AutoModelForSequenceClassification, path, device)
    check_labels(manifest, model.config)
    return TransformersRunner(inputs, classifier(model, _texts_to_tensors(path, model, device)))


def entity_finder(path: Path, manifest: Manifest, device: TorchDevice) -> TransformersRunner:
    """Load a model that gives ``entities``, a JSON list for each text: label, text, start, end, score.

    Raises:
        ModelMismatchError: the inputs are not the manifest's, or it sets parameters.
    """
    parameters_of(manifest)
    inputs = bytes_inputs(manifest, 1, "one text")
    model = load_weights(transformers.AutoModelForTokenClassification, path, device)
    tokenizer = load_pretrained(transformers.AutoTokenizer, path)
    tagger = transformers.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple", device=device.device
    )

    def run(arrays: Arrays) -> dict[str, NDArray[Any]]:
        [texts] = _columns(arrays)
        found = zip(texts, tagger(texts), strict=True)
        return {"entities": json_column([_entity(text, entity) for entity in entities] for text, entities in found)}

    return TransformersRunner(inputs, run)


def embedder(path: Path, manifest: Manifest, device: TorchDevice) -> TransformersRunner:
    """Load a model without a head; it gives ``embedding``, FP32 ``[rows, width]``.

    If the manifest has the output ``tokens``, it gives that too: INT32 ``[rows]``, how many tokens it read of each text,
    those that begin and end it included.

    Raises:
        ModelMismatchError: the inputs are not the manifest's, or it sets parameters.
    """
    parameters_of(manifest)
    inputs = bytes_inputs(manifest, 1, "one text")
    # Only if it is declared: a lone output is bound to a lone one of the manifest, whatever that is called.
    counts_tokens = any((output.source or output.name) == _TOKENS for output in manifest.outputs)
    return TransformersRunner(inputs, embeddings(path, device, counts_tokens=counts_tokens))


def embeddings(path: Path, device: TorchDevice, *, counts_tokens: bool) -> Run:
    """Load a model without a head, and return a function from texts to what ``embedder`` gives."""
    model = load_weights(transformers.AutoModel, path, device)
    return _pooled(model, _texts_to_tensors(path, model, device), path, counts_tokens=counts_tokens)


def _columns(arrays: Arrays) -> list[list[str]]:
    return [[element.decode() for element in array.tolist()] for array in arrays if array is not None]


def _texts_to_tensors(path: Path, model: Any, device: TorchDevice) -> Callable[[Arrays], Any]:
    """Return a function that tokenizes a batch and pads it to its longest row, with the mask that makes rows independent."""
    tokenizer = load_pretrained(transformers.AutoTokenizer, path)
    longest = _longest(path, tokenizer, model)
    lowers = read_json(path / "sentence_bert_config.json").get("do_lower_case", False)

    def to_tensors(arrays: Arrays) -> Any:
        columns = [[text.lower() if lowers else text for text in column] for column in _columns(arrays)]
        return tokenizer(*columns, padding=True, truncation=True, max_length=longest, return_tensors="pt").to(
            device.device
        )

    return to_tensors


def _longest(path: Path, tokenizer: Any, model: Any) -> int:
    """Return the most tokens of a text: what sentence-transformers says, or the tokenizer, or the positions there are.

    RoBERTa and its like count positions from behind the one of padding, so that they have fewer than they say.
    """
    if length := read_json(path / "sentence_bert_config.json").get("max_seq_length"):
        return int(length)
    positions = getattr(model.config, "max_position_embeddings", None) or 512
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    before = [table.padding_idx + 1 for table in tables if getattr(table, "padding_idx", None) is not None]
    return int(min(tokenizer.model_max_length, positions - max(before, default=0)))


def _entity(text: str, found: dict[str, Any]) -> dict[str, Any]:
    start, end = found["start"], found["end"]
    score = round(float(found["score"]), 6)
    return {"label": found["entity_group"], "text": text[start:end], "start": start, "end": end, "score": score}


def _pooled(model: Any, to_tensors: Callable[[Arrays], Any], path: Path, *, counts_tokens: bool) -> Run:
    """Return a function whose output is one vector for each text."""
    pool = pooling(path)

    def run(arrays: Arrays) -> dict[str, NDArray[Any]]:
        tensors = to_tensors(arrays)
        vectors = pool(model(**tensors).last_hidden_state.float(), tensors["attention_mask"].unsqueeze(-1).float())
        outputs = {"embedding": vectors.cpu().numpy()}
        if counts_tokens:
            outputs[_TOKENS] = tensors["attention_mask"].sum(1).to(torch.int32).cpu().numpy()
        return outputs

    return run
