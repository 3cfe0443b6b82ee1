"""Where the model's file is in what other servers load: an archive of TorchServe, a folder of Triton's repository."""

from __future__ import annotations

import json
from pathlib import Path

from penstock_common.errors import PenstockError

_TORCHSERVE_MANIFEST = Path("MAR-INF", "MANIFEST.json")
_TRITON_CONFIGURATION = "config.pbtxt"


def torchserve_file(folder: Path) -> tuple[Path, str]:
    """Return the file that an unpacked ``.mar`` serves, and the name of its handler.

    Raises:
        PenstockError: 422 ``unsupported-model`` if its manifest names none that is in it.
    """
    try:
        model = json.loads((folder / _TORCHSERVE_MANIFEST).read_bytes())["model"]
        file = folder / model["serializedFile"]
        handler = str(model.get("handler", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _unsupported("Its MAR-INF/MANIFEST.json names no serializedFile: its handler makes the model") from None
    if not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
        raise _unsupported(f"Its serializedFile {model['serializedFile']!r} is not in it")
    return file, handler


def triton_file(folder: Path) -> Path | None:
    """Return the file, or folder, of the newest version of a model in Triton's repository; None if it is no such folder.

    Raises:
        PenstockError: 422 ``unsupported-model`` if the version has no file, or several.
    """
    if not (folder / _TRITON_CONFIGURATION).is_file():
        return None
    versions = sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    files = list(versions[-1].glob("model.*")) if versions else []
    if len(files) != 1:
        raise _unsupported(
            f"{folder} is a model of Triton's repository without one model.* in a version. Name the model's file"
        )
    return files[0]


def _unsupported(text: str) -> PenstockError:
    return PenstockError(422, "unsupported-model", f"{text}.")
