"""The pipelines that the packages of the weights have themselves, each on one thread."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ctranslate2
import pytest
import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor

from penstock_common.preprocessing.audio_decoding import decode_audio
from tests.models.packages import package_folder

#: The first token of Whisper that is not text.
_WHISPER_TEXT = 50257


def ocr_pipeline() -> Any:
    """Return rapidocr's own pipeline."""
    package_folder("rapidocr_onnxruntime")
    package_folder("shapely")
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


@contextmanager
def face_pipeline() -> Iterator[Any]:
    """facenet-pytorch's own MTCNN. Of torchvision, which does not fit this torch, it needs one function for a search."""
    package_folder("facenet_pytorch")
    names = [
        "torchvision",
        "torchvision.transforms",
        "torchvision.transforms.functional",
        "torchvision.ops",
        "torchvision.ops.boxes",
    ]
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["torchvision.transforms"].functional = modules["torchvision.transforms.functional"]
    modules["torchvision.ops.boxes"].batched_nms = _own_nms
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        from facenet_pytorch import MTCNN

        yield MTCNN(keep_all=True, select_largest=False)


def _own_nms(boxes: Tensor, scores: Tensor, indices: Tensor, overlap: float) -> Tensor:
    """torchvision.ops.batched_nms for a single picture, as its documentation says it."""
    left_over = scores.argsort(stable=True, descending=True).tolist()
    kept = []
    while left_over:
        first = left_over.pop(0)
        kept.append(first)
        left_over = [i for i in left_over if _overlap_of(boxes[first], boxes[i]) <= overlap]
    return torch.tensor(kept, dtype=torch.int64)


def _overlap_of(one: Tensor, other: Tensor) -> float:
    """Return the intersection of two boxes over their union."""
    left, top = max(float(one[0]), float(other[0])), max(float(one[1]), float(other[1]))
    right, bottom = min(float(one[2]), float(other[2])), min(float(one[3]), float(other[3]))
    common = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    return common / (sum(areas) - common)


def whisper_pipeline(folder: Path) -> Callable[[bytes], str]:
    """Return a function that writes down a sound of half a minute at most, with the library alone.

    Args:
        folder: a Whisper for English that was converted for CTranslate2.
    """
    model = ctranslate2.models.Whisper(str(folder), intra_threads=1)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    extractor = transformers.WhisperFeatureExtractor()

    def write_down(sound: bytes) -> str:
        samples = decode_audio(sound, 16000, 30)
        features = extractor(samples, sampling_rate=16000, return_tensors="np").input_features
        [result] = model.generate(ctranslate2.StorageView.from_array(features), [["<|startoftranscript|>"]])
        text: str = tokenizer.decode([token for token in result.sequences_ids[0] if token < _WHISPER_TEXT])
        return text.strip()

    return write_down
