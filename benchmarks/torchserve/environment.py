"""TorchServe's virtual environment, made once and again whenever a version that it depends on has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.installation import ROOT

CACHE = ROOT / ".penstock-bench"
ENVIRONMENT = CACHE / "torchserve"
#: Installed beside TorchServe, because its handler runs the same model code as the baselines.
OURS = ("services/common", "services/training")
TORCHSERVE = ("torchserve==0.12.0", "torch-model-archiver==0.12.0")


class UnavailableError(Exception):
    """TorchServe cannot run on this machine; the message is one line that says why."""


def torchserve_environment() -> Path:
    """Return the environment's ``bin`` folder; make the environment if needed.

    Raises:
        UnavailableError: Java is missing or a package cannot be installed.
    """
    java_home = os.environ.get("JAVA_HOME")
    if shutil.which(f"{java_home}/bin/java" if java_home else "java") is None:
        raise UnavailableError("java is missing; on Debian: apt-get install openjdk-17-jre-headless")
    wanted = _fingerprint()
    stamp = ENVIRONMENT / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        _install()
        stamp.write_text(wanted)
    return ENVIRONMENT / "bin"


def _install() -> None:
    print("Making TorchServe's virtual environment, which takes about a minute and 1.4 GB, once.", file=sys.stderr)
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    pip = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    constrained = ["-c", str(ROOT / "constraints.txt")]
    editable = [argument for folder in OURS for argument in ("-e", str(ROOT / folder))]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
        # torch is installed first and alone: otherwise its dependents could pull in another build of several gigabytes.
        subprocess.run([*pip, "torch==2.13.0", *constrained], check=True)
        subprocess.run([*pip, *TORCHSERVE, *editable, *constrained], check=True)
    except subprocess.CalledProcessError as err:
        raise UnavailableError(f"its environment cannot be made: {' '.join(err.cmd)} -> {err.returncode}") from None


def _fingerprint() -> str:
    files = [ROOT / "constraints.txt", *[ROOT / folder / "pyproject.toml" for folder in OURS]]
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + repr((TORCHSERVE, sys.version)).encode()).hexdigest()
