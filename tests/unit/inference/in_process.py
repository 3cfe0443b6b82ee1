"""A model without a process of its own, for tests of what is around it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from penstock_common.manifest import Manifest
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import Runner


class InProcess:
    """Runs batches in a thread of this process."""

    def __init__(self, manifest: Manifest, runner: Runner) -> None:
        self._model = LoadedModel(manifest, runner)

    async def run(self, batch: Sequence[Arrays], rows: int) -> Outputs:
        merged = {name: np.concatenate([inputs[name] for inputs in batch]) for name in batch[0]}
        return await asyncio.to_thread(self._model.run, merged)
