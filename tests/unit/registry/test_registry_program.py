"""``python -m penstock_registry``: what it says if it cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"PENSTOCK_REGISTRY_STORE_URL": "ftp://x", "PENSTOCK_REGISTRY_ALLOW_ANONYMOUS": "true"},
            "use a folder, s3://",
        ),
        ({"PENSTOCK_REGISTRY_STORE_URL": "store", "PENSTOCK_REGISTRY_TOKENS_DIR": "nothing"}, "no token"),
        ({"PENSTOCK_REGISTRY_STORE_URL": "store"}, "PENSTOCK_REGISTRY_TOKENS_DIR"),
    ],
)
def test_a_bad_setting_ends_the_program_with_one_line(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    """Status 2, and no traceback."""
    command = [sys.executable, "-m", "penstock_registry"]
    result = subprocess.run(
        command, env=os.environ | variables, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr
