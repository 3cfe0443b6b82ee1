"""The memory that is left, with the limits of containers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock_inference.runners.memory import Memory, peak_bytes, read_memory, resident_bytes

MB = 2**20
V2 = {"memory.max": "{limit}\n", "memory.current": "{used}\n", "memory.stat": "anon 7\ninactive_file {cached}\n"}
V1 = {
    "memory/memory.limit_in_bytes": "{limit}\n",
    "memory/memory.usage_in_bytes": "{used}\n",
    "memory/memory.stat": "inactive_file 7\ntotal_inactive_file {cached}\n",
}


def read(folder: Path, files: dict[str, str], **values: object) -> Memory:
    """On a machine with 4096 MB, of which 1000 MB can be taken."""
    (folder / "meminfo").write_text(f"MemTotal: {4096 * 1024} kB\nMemFree: 1 kB\nMemAvailable: {1000 * 1024} kB\n")
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text.format(**values))
    return read_memory(folder, folder / "meminfo")


@pytest.mark.parametrize("files", [V2, V1], ids=["version 2", "version 1"])
def test_a_containers_limit_counts(files: dict[str, str], tmp_path: Path) -> None:
    """What is left of it, with the pages of files that the kernel would drop."""
    memory = read(tmp_path, files, limit=512 * MB, used=300 * MB, cached=50 * MB)
    assert memory == Memory(262 * MB, 512 * MB)


@pytest.mark.parametrize("files", [V2, V1], ids=["version 2", "version 1"])
def test_the_machine_counts_if_it_has_less(files: dict[str, str], tmp_path: Path) -> None:
    """A limit can promise more than there is."""
    assert read(tmp_path, files, limit=2**50, used=0, cached=0) == Memory(1000 * MB, 4096 * MB)


@pytest.mark.parametrize("files", [{"memory.max": "max\n"}, {}], ids=["no limit", "no cgroup"])
def test_without_a_limit_the_machine_counts(files: dict[str, str], tmp_path: Path) -> None:
    """What can be taken of it, and all that it has."""
    assert read(tmp_path, files) == Memory(1000 * MB, 4096 * MB)


def test_a_peak_is_remembered_by_the_kernel() -> None:
    """What a process took for a moment and gave back counts in its peak only."""
    code = "x = bytes(b'1') * (64 << 20); del x; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert peak_bytes(process.pid) - resident_bytes(process.pid) > 50 * MB
        process.communicate(b"\n")
    assert peak_bytes(process.pid) == 0
