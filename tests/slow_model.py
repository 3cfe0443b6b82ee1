"""A model that sleeps: it keeps a pod busy as a GPU would, and costs the machine no CPU."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import MANIFEST_FILE

NAME = "slow"
ROW = {"x": 1.0}
MAX_BATCH_ROWS = 8
_MANIFEST = f"""\
format: python
file: model.py
task: regression
inputs:
  - {{name: x, kind: number, datatype: FP32}}
outputs:
  - {{name: y, datatype: FP32}}
batching: {{max_batch_size: {MAX_BATCH_ROWS}}}
"""
_MODEL = """\
import time


class Model:
    def load(self, folder):
        pass

    def predict(self, inputs):
        time.sleep({run_seconds} + {row_seconds} * len(inputs["x"]))
        return {{"y": inputs["x"]}}
"""


def write_slow_model(folder: Path, run_seconds: float = 0.02, row_seconds: float = 0.0) -> Path:
    """Write the artifact; a run takes ``run_seconds`` and for each of its rows ``row_seconds``.

    The pods have to be allowed to run code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(_MODEL.format(run_seconds=run_seconds, row_seconds=row_seconds))
    (folder / MANIFEST_FILE).write_text(_MANIFEST)
    return folder
