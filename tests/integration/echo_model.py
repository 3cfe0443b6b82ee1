"""A model of chats that answers with all that it was given, message by message."""

from __future__ import annotations

from pathlib import Path

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task, dump_manifest

_PROGRAM = """
import json

import numpy as np


class Model:
    most_streams = 4

    def load(self, folder):
        pass

    def stream(self, inputs):
        messages = json.loads(inputs["messages"][0])
        for i, message in enumerate(messages):
            end = b"stop" if i == len(messages) - 1 else b""
            text = f"[{message['content']}]".encode()
            yield {"text": column(text), "finish_reason": column(end), "tokens": np.array([1], np.int32)}


def column(text):
    array = np.empty(1, np.object_)
    array[0] = text
    return array
"""
_MANIFEST = Manifest(
    Format.PYTHON,
    "model.py",
    Task.TENSOR,
    [Field("messages", FieldKind.TEXT, "BYTES")],
    [Output("text", "BYTES"), Output("finish_reason", "BYTES"), Output("tokens", "INT32")],
    stream=True,
    examples=[{"messages": '[{"role": "user", "content": "Hi"}]'}],
)


def write_echo(folder: Path) -> Path:
    """Write the artifact; pods load it if they may run code."""
    folder.mkdir()
    (folder / "model.py").write_text(_PROGRAM)
    (folder / "model.yaml").write_text(dump_manifest(_MANIFEST))
    return folder
