"""Loads what a folder of Hugging Face holds: weights from safetensors only, and no code that lies in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock_inference.runners.onednn_linear import use_onednn
from penstock_inference.runners.torch_device import TorchDevice


def load_pretrained(kind: Any, path: Path) -> Any:
    """Return a tokenizer, a processor or the like; ``kind`` is a class of ``transformers`` with ``from_pretrained``."""
    return kind.from_pretrained(path, trust_remote_code=False, local_files_only=True)


def load_weights(kind: Any, path: Path, device: TorchDevice, *, reorder: bool = False) -> Any:
    """Return a model on its device, for inference.

    Args:
        kind: one of the library's classes ``AutoModel...``.
        reorder: the weights of its linear layers, which makes small products on a CPU faster; see ``use_onednn``. The
            code of some kinds, as DeBERTa and WavLM, reads weights itself.
    """
    model = kind.from_pretrained(path, use_safetensors=True, trust_remote_code=False, local_files_only=True)
    model = model.to(device.device).eval()
    if device.autocast is None:  # it does not change the precision of what it does not know
        use_onednn(model, reorder=reorder)
    return model
