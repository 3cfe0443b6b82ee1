"""A signature is read in a process that reaches nothing but the artifact's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock_common.file_signature import FoundInput, SignatureRequest
from penstock_common.manifest import Format
from penstock_inference.runners.sandbox import features
from penstock_inference.signature import _manifest


def read(folder: Path, *inputs: FoundInput) -> tuple[int, dict[str, Any]]:
    """Run the program for ``model.py`` of a folder."""
    request = {
        "folder": str(folder),
        "format": "python",
        "file": "model.py",
        "inputs": [{"name": i.name, "datatype": i.datatype, "shape": i.shape} for i in inputs],
    }
    command = [sys.executable, "-m", "penstock_inference.signature"]
    done = subprocess.run(command, input=json.dumps(request).encode(), capture_output=True, check=False)
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def code(folder: Path, statement: str) -> None:
    (folder / "model.py").write_text(
        "import numpy, os, pathlib\n"
        "class Model:\n"
        f"    def load(self, folder): {statement}\n"
        "    def predict(self, inputs): return {'y': inputs['x'] * 2}\n"
    )


def test_code_is_read_with_the_inputs_that_were_given(tmp_path: Path) -> None:
    """A run shows the outputs."""
    code(tmp_path, "pass")
    status, signature = read(tmp_path, FoundInput("x", "FP32", [3]))
    assert status == 0
    assert signature["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [3]}]


@pytest.mark.skipif(not features().landlock, reason="this kernel has no Landlock")
def test_code_that_leaves_its_folder_fails(tmp_path: Path) -> None:
    """And it has none of the caller's secrets in its environment."""
    own, secret = tmp_path / "own", tmp_path / "secret"
    own.mkdir()
    secret.write_text("token")
    code(own, f"pathlib.Path({str(secret)!r}).read_text()")
    status, answer = read(own, FoundInput("x", "FP32", [3]))
    assert status == 1 and "PermissionError" in answer["reason"]


def test_code_sees_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the command line stays with it."""
    monkeypatch.setenv("PENSTOCK_KEY", "secret")
    code(tmp_path, "os.environ['PENSTOCK_KEY']")
    status, answer = read(tmp_path, FoundInput("x", "FP32", [3]))
    assert status == 1 and "KeyError: 'PENSTOCK_KEY'" in answer["reason"]


def test_what_was_given_reaches_the_process() -> None:
    """In the manifest's description, since the process is started with a manifest."""
    manifest = _manifest(SignatureRequest("/x", Format.ONNX, "m.onnx", [FoundInput("x", "FP32", [3])]))
    assert json.loads(manifest.description) == [{"name": "x", "datatype": "FP32", "shape": [3]}]
