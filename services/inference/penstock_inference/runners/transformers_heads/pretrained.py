"""Loads what a folder of Hugging Face holds: weights from safetensors only, and no code that lies in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def load_pretrained(kind: Any, path: Path) -> Any:
    """Return a tokenizer, a processor or the like; ``kind`` is a class of ``transformers`` with ``from_pretrained``."""
    return kind.from_pretrained(path, trust_remote_code=False, local_files_only=True)


def load_weights(kind: Any, path: Path, device: torch.device) -> Any:
    """Return a model on its device, for inference; ``kind`` is one of the library's classes ``AutoModel...``."""
    model = kind.from_pretrained(path, use_safetensors=True, trust_remote_code=False, local_files_only=True)
    return model.to(device).eval()
