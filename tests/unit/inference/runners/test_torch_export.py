"""Exported programs run without their guards once these have passed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.runners.runner import Runner
from penstock_inference.runners.torch_export import load
from penstock_training.artifact import FILES, save


class Named(nn.Module):
    """Two outputs in a dictionary, and a buffer that counts the runs."""

    runs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("runs", torch.zeros(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.runs.add_(1)
        return {"twice": self.linear(x) * 2, "runs": torch.zeros_like(x[:, 0]) + self.runs}


@pytest.fixture
def module() -> Named:
    return Named().eval()


@pytest.fixture
def runner(module: Named, tmp_path: Path) -> Runner:
    manifest = Manifest(
        format=Format.TORCH_EXPORT,
        file=FILES[Format.TORCH_EXPORT],
        task=Task.TENSOR,
        inputs=[Field("x", FieldKind.TENSOR, "FP32", shape=[3])],
        outputs=[Output("twice", "FP32", [2]), Output("runs", "FP32")],
    )
    save(tmp_path, module, manifest, (torch.zeros(2, 3),), ({0: torch.export.Dim("batch", min=1, max=8)},))
    return load(tmp_path / manifest.file, manifest, threads=1)


def test_runs_with_and_without_guards_answer_alike(runner: Runner, module: Named) -> None:
    """At each batch size the first run, which is guarded, and the later ones give what the module does."""
    for rows in (1, 2, 8):
        x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        with torch.inference_mode():
            expected = module(torch.from_numpy(x))["twice"].numpy()
        for _ in range(3):
            assert np.allclose(runner.run([x])["twice"], expected, atol=1e-6)


def test_runs_with_and_without_guards_share_one_state(runner: Runner) -> None:
    """A buffer that the program writes counts every run once, with guards or without."""
    counts = [runner.run([np.zeros((rows, 3), np.float32)])["runs"].tolist() for rows in (1, 1, 2, 1, 2)]
    assert [count[0] for count in counts] == [1, 2, 3, 4, 5]


def test_what_the_guards_refuse_is_refused_each_time(runner: Runner) -> None:
    """A shape that was not exported never runs, although the program without guards would take it."""
    for _ in range(2):
        with pytest.raises(AssertionError, match=r"Guard failed: .* <= 8"):
            runner.run([np.zeros((9, 3), np.float32)])
