"""What an ONNX file says besides its tensors: the words of its exporter, and the names of classes."""

from __future__ import annotations

import ast
from pathlib import Path

import onnxruntime


def details(path: Path) -> tuple[str, list[str]]:
    """Return the description that the exporter left, and the names of the classes; both may be empty.

    The names are those in the metadata as ``names``, a dict or a list written in Python or JSON, or else those of the
    operators that scikit-learn's classifiers become, which are read if the package ``onnx`` is installed.
    """
    found = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).get_modelmeta()
    return str(found.description), _names(found.custom_metadata_map.get("names", "")) or _classes(path)


def _names(text: str) -> list[str]:
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[i] for i in range(len(names))]
    return [str(name) for name in names] if isinstance(names, list) else []


def _classes(path: Path) -> list[str]:
    try:
        import onnx
    except ImportError:
        return []
    for node in onnx.load(path, load_external_data=False).graph.node:
        for attribute in node.attribute:
            if attribute.name == "classlabels_strings" and attribute.strings:
                return [text.decode() for text in attribute.strings]
            if attribute.name in ("classlabels_ints", "classlabels_int64s") and attribute.ints:
                return [str(number) for number in attribute.ints]
    return []
