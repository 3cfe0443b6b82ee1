"""TorchServe's virtual environment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from benchmarks.virtual_environments import UnavailableError, virtual_environment
from tests.installation import ROOT

#: Installed beside TorchServe, because its handler runs the same model code as the baselines.
OURS = ("services/common", "services/training")
TORCHSERVE = ("torchserve==0.12.0", "torch-model-archiver==0.12.0")


def torchserve_environment() -> Path:
    """Return the environment's ``bin`` folder; make the environment if needed.

    Raises:
        UnavailableError: Java is missing or a package cannot be installed.
    """
    java_home = os.environ.get("JAVA_HOME")
    if shutil.which(f"{java_home}/bin/java" if java_home else "java") is None:
        raise UnavailableError("java is missing; on Debian: apt-get install openjdk-17-jre-headless")
    constraints = ROOT / "constraints.txt"
    editable = [argument for folder in OURS for argument in ("-e", str(ROOT / folder))]
    files = [constraints, *[ROOT / folder / "pyproject.toml" for folder in OURS]]
    return virtual_environment("torchserve", [*TORCHSERVE, *editable, "-c", str(constraints)], files)
