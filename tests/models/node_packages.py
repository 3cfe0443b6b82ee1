"""Installs packages of Node for a test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def install_node_packages(folder: Path) -> None:
    """Install what a folder's ``package.json`` names into it, without running the packages' scripts.

    The test is skipped if they cannot be had.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm on the PATH; Debian: apt-get install nodejs npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"the packages of Node cannot be had: {done.stderr[-300:]}")
