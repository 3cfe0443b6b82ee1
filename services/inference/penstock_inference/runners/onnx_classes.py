"""The names of a classifier's classes in an ONNX file, found without the package that reads such files whole."""

from __future__ import annotations

import mmap
from pathlib import Path

from penstock_common.manifest import Manifest, Task
from penstock_inference.runners.runner import ModelMismatchError

#: The beginning of an AttributeProto of onnx.proto, its name (field 1), and the tag of the texts that follow (field 9).
_ATTRIBUTE, _TEXT = b"\x0a\x13classlabels_strings", 0x4A


def check_class_order(path: Path, manifest: Manifest) -> None:
    """Check that the labels are not the file's classes in another order; other names are their owner's choice.

    Raises:
        ModelMismatchError: they are.
    """
    if manifest.task is not Task.CLASSIFICATION:
        return
    classes = class_names(path)
    if classes != manifest.labels and sorted(classes) == sorted(manifest.labels):
        raise ModelMismatchError(
            f"The file's classes are {', '.join(classes)}, in this order; the labels are {', '.join(manifest.labels)}."
        )


def class_names(path: Path) -> list[str]:
    """Return the names of the first classifier's classes; empty if there is none, or if they are numbers."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        position = content.find(_ATTRIBUTE)
        if position < 0:
            return []
        position += len(_ATTRIBUTE)
        names = []
        while position + 2 <= len(content) and content[position] == _TEXT:
            length = content[position + 1]  # of less than 128 bytes; a longer one has more than one byte for its length
            if length > 127:
                return []
            names.append(content[position + 2 : position + 2 + length].decode(errors="replace"))
            position += 2 + length
        return names
