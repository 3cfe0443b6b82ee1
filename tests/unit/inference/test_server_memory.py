"""The server reuses the memory of large messages."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Makes and drops the bytes of 16 messages ten times, and prints how many pages the kernel then had to give.
MESSAGES = """
import resource, sys
from penstock_inference.server import _keep_freed_memory

def serve(times):
    for _ in range(times):
        messages = [b"x" * 600_000 for _ in range(16)]
        del messages

if sys.argv[1] == "kept":
    _keep_freed_memory()
serve(10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
serve(10)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(("memory", "most"), [("kept", 100), ("returned", None)])
def test_large_messages_need_no_new_pages(memory: str, most: int | None) -> None:
    """Once it has served some. As the C library has it, each message's pages are new."""
    done = subprocess.run([sys.executable, "-c", MESSAGES, memory], capture_output=True, text=True, check=True)
    faults = int(done.stdout)
    assert faults < most if most else faults > 10_000
