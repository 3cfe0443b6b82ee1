"""Folders of Hugging Face, run by ``transformers``: texts and images to classes, texts to entities or embeddings.

What a folder does is said by the architecture in its ``config.json``. Weights are read from safetensors only, and code
in the folder is not run.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image

from penstock_common.manifest import Manifest, Task
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.hugging_face import architecture_of, head_of, not_served, read_json
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError, Runner
from penstock_inference.runners.torch_device import OnDevice, TorchDevice

#: The result of a model that has none of the known heads.
_EMBEDDING = "embedding"

Texts = list[str]
#: Texts or images, a list for each input of the manifest, to the outputs by name.
Run = Callable[[list[list[Any]]], dict[str, NDArray[Any]]]


class TransformersRunner:
    """A folder's model; its inputs are those of the manifest, BYTES of texts or of encoded images."""

    def __init__(self, manifest: Manifest, run: Run, *, images: bool, most_inputs: int) -> None:
        tensors = model_tensors(manifest)
        if len(tensors) > most_inputs or any((t.datatype, t.shape) != ("BYTES", ()) for t in tensors):
            takes = "one image" if images else "one text" if most_inputs == 1 else "one text, or a pair"
            raise ModelMismatchError(f"The folder's model takes {takes}; declare inputs of BYTES without a shape.")
        self.inputs = [FileTensor(tensor.name, "BYTES", (-1,)) for tensor in tensors]
        self._decode: Callable[[bytes], Any] = _image if images else bytes.decode
        self._run = run

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        columns = [[self._decode(element) for element in array.tolist()] for array in inputs if array is not None]
        with torch.inference_mode():
            return self._run(columns)

    def changed_state(self) -> list[str]:
        return []  # the library's models keep nothing between calls


def load(path: Path, manifest: Manifest, threads: int) -> Runner:
    """Load a folder that ``save_pretrained`` wrote.

    Raises:
        GpuMemoryError: the GPU has no room for it.
        ModelMismatchError: its architecture has a head that is not served, or its labels are not the manifest's.
    """
    device = TorchDevice(manifest, path, threads)
    return OnDevice(device, _loaded(path, manifest, device.device))


def _loaded(path: Path, manifest: Manifest, device: torch.device) -> TransformersRunner:
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    architecture = architecture_of(config.architectures)
    match head_of(architecture):
        case "SequenceClassification":
            _check_labels(manifest, config)
            model = _model(transformers.AutoModelForSequenceClassification, path, device)
            run = _classifier(model, _texts_to_tensors(path, config, device))
            return TransformersRunner(manifest, run, images=False, most_inputs=2)
        case "TokenClassification":
            run = _entities(_model(transformers.AutoModelForTokenClassification, path, device), path, device)
            return TransformersRunner(manifest, run, images=False, most_inputs=1)
        case "ImageClassification":
            _check_labels(manifest, config)
            model = _model(transformers.AutoModelForImageClassification, path, device)
            run = _classifier(model, _images_to_tensors(path, device))
            return TransformersRunner(manifest, run, images=True, most_inputs=1)
        case "" | "MaskedLM" | "PreTraining":
            model = _model(transformers.AutoModel, path, device)
            run = _embedder(model, _texts_to_tensors(path, config, device), path)
            return TransformersRunner(manifest, run, images=False, most_inputs=1)
    raise not_served(architecture)


def _model(kind: Any, path: Path, device: torch.device) -> Any:
    model = kind.from_pretrained(path, use_safetensors=True, trust_remote_code=False, local_files_only=True)
    return model.to(device).eval()


def _texts_to_tensors(path: Path, config: Any, device: torch.device) -> Callable[[list[Texts]], Any]:
    """Return a function that tokenizes a batch and pads it to its longest row, with the mask that makes rows independent."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    longest = _longest(path, tokenizer, config)
    return lambda columns: tokenizer(
        *columns, padding=True, truncation=True, max_length=longest, return_tensors="pt"
    ).to(device)


def _longest(path: Path, tokenizer: Any, config: Any) -> int:
    """Return the most tokens of a text: what sentence-transformers says, or the tokenizer, or the positions there are."""
    if length := read_json(path / "sentence_bert_config.json").get("max_seq_length"):
        return int(length)
    return int(min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or 512))


def _images_to_tensors(path: Path, device: torch.device) -> Callable[[list[list[Image.Image]]], Any]:
    processor = transformers.AutoImageProcessor.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    return lambda columns: processor(columns[0], return_tensors="pt").to(device)


def _image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _classifier(model: Any, to_tensors: Callable[[list[list[Any]]], Any]) -> Run:
    several_labels = model.config.problem_type == "multi_label_classification"

    def run(columns: list[list[Any]]) -> dict[str, NDArray[Any]]:
        logits = model(**to_tensors(columns)).logits.float()
        probabilities = torch.sigmoid(logits) if several_labels else torch.softmax(logits, -1)
        return {"probabilities": probabilities.cpu().numpy(), "logits": logits.cpu().numpy()}

    return run


def _entities(model: Any, path: Path, device: torch.device) -> Run:
    """Return a function whose output ``entities`` is a JSON list for each text: label, text, start, end, score."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    tagger = transformers.pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple", device=device
    )

    def run(columns: list[list[Any]]) -> dict[str, NDArray[Any]]:
        [texts] = columns
        found = np.empty(len(texts), dtype=np.object_)
        for i, (text, entities) in enumerate(zip(texts, tagger(texts), strict=True)):
            found[i] = json.dumps([_entity(text, entity) for entity in entities], ensure_ascii=False).encode()
        return {"entities": found}

    return run


def _entity(text: str, found: dict[str, Any]) -> dict[str, Any]:
    start, end = found["start"], found["end"]
    score = round(float(found["score"]), 6)
    return {"label": found["entity_group"], "text": text[start:end], "start": start, "end": end, "score": score}


def _embedder(model: Any, to_tensors: Callable[[list[Texts]], Any], path: Path) -> Run:
    """Return a function whose output is one vector for each text, pooled as the folder says, and by the mean if it does not."""
    pooling = read_json(path / "1_Pooling" / "config.json")
    by_first = pooling.get("pooling_mode_cls_token", False)
    by_maximum = pooling.get("pooling_mode_max_tokens", False)
    modules = read_json(path / "modules.json") or []
    normalized = any(module["type"].endswith("Normalize") for module in modules)

    def run(columns: list[list[Any]]) -> dict[str, NDArray[Any]]:
        tensors = to_tensors(columns)
        tokens = model(**tensors).last_hidden_state.float()
        mask = tensors["attention_mask"].unsqueeze(-1).float()
        if by_first:
            vectors = tokens[:, 0]
        elif by_maximum:
            vectors = tokens.masked_fill(mask == 0, -torch.inf).amax(1)
        else:
            vectors = (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        if normalized:
            vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return {_EMBEDDING: vectors.cpu().numpy()}

    return run


def _check_labels(manifest: Manifest, config: Any) -> None:
    """Check the labels against the folder's, unless these are only numbers.

    Raises:
        ModelMismatchError: they are others, or in another order.
    """
    named = [config.id2label[i] for i in range(config.num_labels)]
    if manifest.task is not Task.CLASSIFICATION or all(name.startswith("LABEL_") for name in named):
        return
    if named != manifest.labels:
        raise ModelMismatchError(
            f"The folder's labels are {', '.join(named)}, in this order; the manifest's are {', '.join(manifest.labels)}."
        )
