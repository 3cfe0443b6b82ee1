"""TorchServe's handler of the spam model: turns a batch of request bodies into a batch of answers.

TorchServe's worker imports this file by its path, and ``benchmarks.spam_model`` through ``PYTHONPATH``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.spam_model import SpamModel


class SpamHandler:
    """TorchServe calls ``initialize`` once in each worker, then ``handle`` for each batch."""

    def initialize(self, context: Any) -> None:
        # At INFO, the worker would log each batch through a pipe to the JVM.
        logging.getLogger().setLevel(logging.ERROR)
        self._model = SpamModel(Path(context.system_properties["model_dir"]))
        self._encode = msgspec.json.Encoder().encode

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        answers = self._model.answer([request["body"]["text"] for request in data])
        for row in range(len(data)):
            context.set_response_content_type(row, "application/json")
        return [self._encode(answer) for answer in answers]
