"""What a recipe is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Package:
    """A package of a Python package index; it is used for the files in it, and never imported.

    Attributes:
        requirement: its name and version, as pip takes them.
        module: the folder of its files.
        source: whether they are in its source distribution alone.
    """

    requirement: str
    module: str
    source: bool = False


@dataclass(frozen=True)
class Call:
    """An example of a call.

    Attributes:
        path: ``{model}`` stands for the model's name.
        body: JSON, in which the text ``{model}`` stands for it too; None if a form is sent.
        form: the fields of multipart/form-data; one that begins with ``@`` is the name of a file.
        save_as: the file for an answer that is not text.
    """

    path: str
    body: dict[str, Any] | None = None
    form: dict[str, str] | None = None
    save_as: str = ""


@dataclass(frozen=True)
class Recipe:
    """A service.

    Attributes:
        name: of the service, and of its model if the user says nothing else.
        what: what it does, in one line.
        packages: what the weights are in.
        megabytes: that are fetched.
        licence: of the weights.
        call: an example.
        make: writes the artifact, ``model.yaml`` and its files, into an empty folder; its first argument is the
            folders of the packages, in their order.
        quality: what was measured of the model.
    """

    name: str
    what: str
    packages: tuple[Package, ...]
    megabytes: int
    licence: str
    call: Call
    make: Callable[[list[Path], Path], None]
    quality: str
