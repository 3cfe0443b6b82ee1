"""What a parent gets of the server, and what is said if the kernel lacks a part of the confinement."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_inference.runners import forker
from penstock_inference.runners.forker import clean_environment
from penstock_inference.runners.process import LoadFailedError
from penstock_inference.runners.sandbox import features
from penstock_inference.runners.wire import Features


def test_no_secret_is_passed_on() -> None:
    """What libraries need is; of everything else, such as tokens and credentials of any name, nothing."""
    passed_on = clean_environment(
        {
            "PATH": "/bin",
            "OMP_NUM_THREADS": "2",
            "PENSTOCK_INFERENCE_REGISTRY_TOKEN": "secret",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "HTTPS_PROXY": "http://user:secret@proxy",
            "HOME": "/home/user",
        }
    )
    assert passed_on["PATH"] == "/bin"
    assert passed_on["OMP_NUM_THREADS"] == "2"
    assert "secret" not in str(passed_on)
    assert passed_on["HOME"] == "/nonexistent"


async def test_a_framework_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The reason has the extra that brings it, and no parent is started."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    text = Field("text", FieldKind.TEXT, "BYTES")
    manifest = Manifest(Format.CTRANSLATE2, "model", Task.TENSOR, [text], [Output("text", "BYTES")])
    starter = forker.Forker(run_seconds=1.0, load_seconds=1.0)
    try:
        with pytest.raises(LoadFailedError, match=r"pip install 'penstock-inference\[ctranslate2\]'") as failed:
            await starter.start(manifest, tmp_path, threads=1, memory_bytes=1)
        assert failed.value.permanent
    finally:
        await starter.close()


@pytest.mark.parametrize(("landlock", "warnings"), [(0, 1), (7, 0)])
def test_a_kernel_without_landlock_is_reported(landlock: int, warnings: int) -> None:
    """By a line in the log with the remedy, and by a metric."""
    with capture_logs() as logs:
        forker._report(Features(seccomp=True, landlock=landlock))
    assert len(logs) == warnings
    assert all("kernel from 5.13" in line["remedy"] for line in logs)
    sample = REGISTRY.get_sample_value("penstock_inference_confinement", {"feature": "landlock"})
    assert sample == landlock


def test_this_kernel_has_both() -> None:
    """Where these tests run, the confinement that they test is there."""
    found = features()
    assert found.seccomp
    assert found.landlock > 0
