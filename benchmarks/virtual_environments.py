"""Virtual environments of servers that do not fit into this project's own, under .penstock-bench/."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.installation import ROOT

CACHE = ROOT / ".penstock-bench"


class UnavailableError(Exception):
    """A server cannot run on this machine; the message is one line that says why."""


def virtual_environment(name: str, packages: Sequence[str], files: Sequence[Path] = ()) -> Path:
    """Return the ``bin`` folder of an environment; make it if it is not there, or if what it was made of has changed.

    Args:
        packages: arguments of ``pip install``.
        files: on which they depend, such as constraints.

    Raises:
        UnavailableError: a package cannot be installed.
    """
    environment = CACHE / name
    stamp = environment / "installed"
    content = b"".join(file.read_bytes() for file in files)
    wanted = hashlib.sha256(content + repr((packages, sys.version)).encode()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        _make(environment, packages)
        stamp.write_text(wanted)
    return environment / "bin"


def _make(environment: Path, packages: Sequence[str]) -> None:
    print(f"Making {environment.name}'s virtual environment, which takes a minute and 1.4 GB, once.", file=sys.stderr)
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        # torch is installed first and alone: otherwise its dependents could pull in another build of several gigabytes.
        subprocess.run([*pip, "torch==2.13.0", "-c", str(ROOT / "constraints.txt")], check=True)
        subprocess.run([*pip, *packages], check=True)
    except subprocess.CalledProcessError as err:
        raise UnavailableError(f"its environment cannot be made: {' '.join(err.cmd)} -> {err.returncode}") from None
