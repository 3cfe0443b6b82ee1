"""The rules about files that a process gives itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from penstock_inference.runners.landlock import landlock_version

_DROP_CACHES = "/proc/sys/vm/drop_caches"

_PROGRAM = """
import ctypes, os
from pathlib import Path
from penstock_inference.runners.landlock import restrict_files

ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # no_new_privs
drop_caches = os.open("/proc/sys/vm/drop_caches", os.O_WRONLY)
restrict_files([Path("/proc/meminfo"), Path("/proc/self"), Path("/proc/stat")], [])
os.write(drop_caches, b"2")
for path in ("/proc/meminfo", "/proc/self/status", "/proc/stat"):
    Path(path).read_text()
try:
    Path("/proc/version").read_text()
except PermissionError:
    print("restricted")
"""


@pytest.mark.skipif(not landlock_version(), reason="this kernel has no Landlock")
@pytest.mark.skipif(not os.access(_DROP_CACHES, os.W_OK), reason="needs the right to drop the kernel's caches")
def test_procfs_can_be_read_after_the_kernel_has_dropped_its_caches() -> None:
    """As it does when memory is short; other files of procfs stay out of reach."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("restricted\n", "")
