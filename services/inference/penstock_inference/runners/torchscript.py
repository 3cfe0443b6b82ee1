"""TorchScript modules."""

from __future__ import annotations

from pathlib import Path

import torch

from penstock_inference.runners.torch_runner import TorchRunner, set_up_torch


def load(path: Path, threads: int) -> TorchRunner:
    """Load a ``.pt`` file."""
    device = set_up_torch(threads)
    return TorchRunner(torch.jit.load(path, map_location=device).eval(), device)
