"""Folders of Hugging Face, run by ``transformers``.

What a folder does is said by the architecture in its ``config.json``. Weights are read from safetensors only, and code
in the folder is not run.
"""

from __future__ import annotations

from pathlib import Path

import transformers

from penstock_common.manifest import Manifest
from penstock_inference.runners.hugging_face import TEXT_TO_TEXT, WHISPER, architecture_of, head_of, not_served
from penstock_inference.runners.runner import Runner
from penstock_inference.runners.torch_device import OnDevice, TorchDevice
from penstock_inference.runners.transformers_heads import ctc, images, summary, text_to_text, texts, whisper


def load(path: Path, manifest: Manifest, threads: int) -> Runner:
    """Load a folder that ``save_pretrained`` wrote.

    Raises:
        GpuMemoryError: the GPU has no room for it.
        ModelMismatchError: its architecture has a head that is not served, or its labels are not the manifest's.
    """
    device = TorchDevice(manifest, path, threads)
    return OnDevice(device, _loaded(path, manifest, device))


def _loaded(path: Path, manifest: Manifest, device: TorchDevice) -> Runner:
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    architecture = architecture_of(config.architectures)
    match head_of(architecture):
        case "SequenceClassification":
            return texts.text_classifier(path, manifest, device)
        case "TokenClassification":
            return texts.entity_finder(path, manifest, device)
        case "ImageClassification":
            return images.image_classifier(path, manifest, device)
        case "ObjectDetection":
            return images.object_finder(path, manifest, device)
        case "CTC":
            return ctc.letters_of_speech(path, manifest, device)
        case "ConditionalGeneration" if config.model_type == WHISPER:
            return whisper.whisper(path, manifest, device)
        case "ConditionalGeneration" if config.model_type in TEXT_TO_TEXT:
            return text_to_text.text_to_text(path, manifest, device)
        case "" | "MaskedLM" | "PreTraining" if summary.wanted(manifest):
            return summary.extractive_summarizer(path, manifest, device)
        case "" | "MaskedLM" | "PreTraining":
            return texts.embedder(path, manifest, device)
    raise not_served(architecture)
