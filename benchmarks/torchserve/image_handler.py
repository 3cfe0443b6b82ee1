"""TorchServe's handler of ResNet-18: images as raw FP32 in, logits as raw FP32 out; it runs the file that the pod serves.

TorchServe's worker imports this file by its path.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

_IMAGE = (3, 224, 224)


class ImageHandler:
    """TorchServe calls ``initialize`` once in each worker, then ``handle`` for each batch."""

    def initialize(self, context: Any) -> None:
        # At INFO, the worker would log each batch through a pipe to the JVM.
        logging.getLogger().setLevel(logging.ERROR)
        torch.set_num_threads(1)
        self._network = torch.export.load(Path(context.system_properties["model_dir"]) / "model.pt2").module()

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        images = [np.frombuffer(request["body"], np.float32).reshape(_IMAGE) for request in data]
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(np.stack(images)))
        return [row.tobytes() for row in logits.numpy()]
