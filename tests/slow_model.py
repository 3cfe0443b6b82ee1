"""A model whose every run takes about the same time, however many rows it has: as a GPU's does."""

from __future__ import annotations

from pathlib import Path

import torch

from penstock_common.manifest import MANIFEST_FILE

NAME = "slow"
ROW = {"x": 1.0}
MAX_BATCH_ROWS = 8
_MANIFEST = f"""\
format: torchscript
file: model.pt
task: regression
inputs:
  - {{name: x, kind: number, datatype: FP32}}
outputs:
  - {{name: y, datatype: FP32}}
batching: {{max_batch_size: {MAX_BATCH_ROWS}}}
"""


class _Slow(torch.nn.Module):
    """Returns its input after ``steps`` multiplications of a matrix."""

    def __init__(self, steps: int, width: int = 512) -> None:
        super().__init__()
        self.steps = steps
        self.register_buffer("matrix", torch.zeros(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        work = self.matrix
        for _ in range(self.steps):
            work = work @ self.matrix
        return x + work[0, 0]


def write_slow_model(folder: Path, steps: int = 2) -> Path:
    """Write the artifact; two steps take 5 to 20 ms of one core."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.script(_Slow(steps)).save(str(folder / "model.pt"))
    (folder / MANIFEST_FILE).write_text(_MANIFEST)
    return folder
