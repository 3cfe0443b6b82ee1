"""A model in a process that a negative value ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.runners.process import ProcessEndedError


class MortalRunner:
    """Doubles while its gate is open; ends with a negative value."""

    def __init__(self, *, gate_open: bool) -> None:
        self.batches: list[list[float]] = []
        self.gate = asyncio.Event()
        if gate_open:
            self.gate.set()

    async def run(self, batch: Sequence[Arrays], rows: int) -> Outputs:
        values = np.concatenate([inputs["x"] for inputs in batch])
        self.batches.append(values.tolist())
        await self.gate.wait()
        if (values < 0).any():
            raise ProcessEndedError("its process was ended by SIGSEGV")
        return [values * 2]
