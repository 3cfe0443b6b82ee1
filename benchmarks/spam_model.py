"""The spam model as the baselines run it, by default eagerly: the network's own class with the trained weights.

Texts become tensors by the same pre-processing as in Penstock's pods, and answers have the
same fields, except the model's name and version, which the baselines do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_common.preprocessing.steps import preprocess
from penstock_training.ngram_classifier import TwoLabels


class Answer(TypedDict):
    prediction: str
    confidence: float
    probabilities: dict[str, float]


def eager(program: torch.export.ExportedProgram) -> Callable[[Tensor], Tensor]:
    """Return the network as an ordinary ``nn.Module`` with the weights of ``program``."""
    network = TwoLabels()
    network.load_state_dict(program.state_dict)
    return network.eval()


def guarded(program: torch.export.ExportedProgram) -> Callable[[Tensor], Tensor]:
    """Return the exported program as PyTorch runs it, with its guards on every call."""
    return program.module()


class SpamModel:
    """Classifies texts on one thread.

    Args:
        artifact: folder with ``model.yaml`` and an exported program.
        call: turns the program into a function from ``uint8 [N, L]`` to ``float32 [N, 2]``.
    """

    def __init__(
        self,
        artifact: Path,
        call: Callable[[torch.export.ExportedProgram], Callable[[Tensor], Tensor]] = eager,
    ) -> None:
        torch.set_num_threads(1)
        self._manifest = parse_manifest((artifact / MANIFEST_FILE).read_bytes())
        self._field = self._manifest.inputs[0].name
        self._call = call(torch.export.load(artifact / self._manifest.file))

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        rows = np.empty(len(texts), dtype=np.object_)
        rows[:] = [text.encode() for text in texts]
        inputs = preprocess(self._manifest, {self._field: rows})
        with torch.inference_mode():
            batch = self._call(*[torch.from_numpy(array) for array in inputs]).tolist()
        labels = self._manifest.labels
        answers: list[Answer] = []
        for probabilities in batch:
            rounded = [round(p, 6) for p in probabilities]
            confidence = max(rounded)
            answers.append(
                {
                    "prediction": labels[rounded.index(confidence)],
                    "confidence": confidence,
                    "probabilities": dict(zip(labels, rounded, strict=True)),
                }
            )
        return answers
