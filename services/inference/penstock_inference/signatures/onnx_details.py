"""What an ONNX file says besides its tensors: the words of its exporter, and the names of classes."""

from __future__ import annotations

import ast
from pathlib import Path

import onnxruntime

_ML_NET_CLASSES = "mlnet.Score.SlotNames"


def details(path: Path) -> tuple[str, list[str]]:
    """Return the description that the exporter left, and the names of the classes; both may be empty.

    The names are those in the metadata as ``names``, a dict or a list written in Python or JSON, or else those that ML.NET
    keeps in a node, or of the operators that scikit-learn's classifiers become. Nodes are read if the package ``onnx`` is
    installed.
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
    nodes = onnx.load(path, load_external_data=False).graph.node
    # ML.NET numbers the classes in its operators, and keeps their names in an encoder whose result nobody uses.
    for node in sorted(nodes, key=lambda node: node.name != _ML_NET_CLASSES):
        for attribute in node.attribute:
            is_names = node.name == _ML_NET_CLASSES and attribute.name == "keys_strings"
            if (is_names or attribute.name == "classlabels_strings") and attribute.strings:
                return [text.decode() for text in attribute.strings]
            if attribute.name in ("classlabels_ints", "classlabels_int64s") and attribute.ints:
                return [str(number) for number in attribute.ints]
    return []
