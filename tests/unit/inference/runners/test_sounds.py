"""Sounds are decoded, and written, in a model's confined process."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from penstock_common.manifest import Manifest, parse_manifest
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import LoadFailedError

MANIFEST = """
format: torch-export
file: model.pt2
task: tensor
inputs: [{name: sound, kind: audio, datatype: BYTES, max_seconds: 10}]
outputs: [{name: quieter, datatype: BYTES, source: samples}, {name: mean, datatype: FP32}]
preprocess: {name: audio, params: {sample_rate: 8000}}
postprocess: {name: wav, params: {sample_rate: 8000, lengths: lengths}}
batching: {max_batch_size: 4}
"""


class Quieter(torch.nn.Module):
    """Halves samples, and gives their mean."""

    def forward(self, sound: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        return {"samples": sound / 2, "mean": sound.sum(1) / lengths, "lengths": lengths}


class Unmasked(torch.nn.Module):
    """Takes what fills up a row for a part of the sound."""

    def forward(self, sound: Tensor) -> dict[str, Tensor]:
        lengths = torch.full_like(sound[:, 0], sound.shape[1]).long()
        return {"samples": sound / 2, "mean": sound.abs().mean(1), "lengths": lengths}


def export(module: torch.nn.Module, folder: Path, *examples: Tensor) -> Manifest:
    rows, samples = torch.export.Dim("rows", min=1, max=64), torch.export.Dim("samples", min=2, max=80_000)
    shapes: tuple[Any, ...] = ({0: rows, 1: samples}, {0: rows})
    program = torch.export.export(module.eval(), examples, dynamic_shapes=shapes[: len(examples)])
    torch.export.save(program, folder / "model.pt2")
    return parse_manifest(MANIFEST)


def encoded(samples: np.ndarray[Any, Any], format_: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format=format_)
    return file.getvalue()


@pytest.fixture
async def forker() -> Any:
    made = Forker(run_seconds=30.0, load_seconds=60.0)
    yield made
    await made.close()


async def test_a_sound_in_and_a_sound_out(forker: Forker, tmp_path: Path) -> None:
    """A FLAC and a shorter MP3 in one batch each become a WAV of their own length."""
    manifest = export(Quieter(), tmp_path, torch.zeros(2, 100), torch.ones(2, dtype=torch.int64))
    process = await forker.start(manifest, tmp_path, threads=1, memory_bytes=2**30)
    tone = 0.8 * np.sin(np.arange(32000) / 8)
    files = np.empty(2, dtype=np.object_)
    files[:] = [encoded(tone, "FLAC"), encoded(tone[:16000], "MP3")]
    answers, means = await process.run([{"sound": files}], 2)
    for answer, length, tolerance in zip(answers, (16000, 8000), (1e-3, 0.02), strict=True):
        samples, rate = soundfile.read(io.BytesIO(answer))
        assert (rate, len(samples)) == (8000, length)
        middle = slice(1000, length - 1000)
        np.testing.assert_allclose(samples[middle], 0.4 * np.sin(np.arange(length) / 4)[middle], atol=tolerance)
    assert means == pytest.approx([0, 0], abs=1e-3)


async def test_a_model_that_ignores_the_mask_does_not_serve(forker: Forker, tmp_path: Path) -> None:
    """The trial has sounds of different length, so that what fills them up shows."""
    manifest = export(Unmasked(), tmp_path, torch.zeros(2, 100))
    with pytest.raises(LoadFailedError, match="depends on the rows beside it"):
        await forker.start(manifest, tmp_path, threads=1, memory_bytes=2**30)
