"""The table of the formats and of the frameworks that run them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from penstock_common.manifest import Format
from penstock_inference.runners.runner import Runner


class Framework(StrEnum):
    """What is imported once, in a parent of its own, for all versions that use it."""

    TORCH = "torch"
    ONNXRUNTIME = "onnxruntime"


FRAMEWORKS = {
    Format.TORCH_EXPORT: Framework.TORCH,
    Format.TORCHSCRIPT: Framework.TORCH,
    Format.ONNX: Framework.ONNXRUNTIME,
}

#: What a framework imports only when it loads a model; with them in the parent, a process starts sooner.
_IMPORTED_LATE: dict[Framework, tuple[str, ...]] = {
    Framework.TORCH: (
        "torch._dynamo.precompile_context",
        "torch._export.db.logging",
        "torch._export.passes.collect_tracepoints_pass",
        "torch._inductor.codecache",
        "torch.export._trace",
    ),
    Framework.ONNXRUNTIME: (),
}


def import_framework(framework: Framework) -> None:
    """Import a framework, with all that it would import while it loads a model."""
    for format_, its_framework in FRAMEWORKS.items():
        if its_framework is framework:
            import_format(format_)
    for module in _IMPORTED_LATE[framework]:
        importlib.import_module(module)


def import_format(format_: Format) -> Callable[[Path, int], Runner]:
    """Import the module of a format, and with it the framework; return its ``load(path, threads)``.

    The imports are here and not at the top, so that a process holds only the framework that it uses.
    """
    match format_:
        case Format.TORCH_EXPORT:
            from penstock_inference.runners import torch_export

            return torch_export.load
        case Format.TORCHSCRIPT:
            from penstock_inference.runners import torchscript

            return torchscript.load
        case Format.ONNX:
            from penstock_inference.runners import onnx

            return onnx.load
