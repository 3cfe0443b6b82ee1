"""How much memory there is, and how much a process takes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_CGROUP = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 62


class Memory(NamedTuple):
    """Bytes of memory: the machine's, or those of the container's limit if they are less."""

    available: int  # that can still be taken; pages of files count, since the kernel drops them when memory is short
    limit: int


def read_memory(cgroup: Path = _CGROUP, machine: Path = Path("/proc/meminfo")) -> Memory:
    """Return the memory as it is now."""
    fields = dict(line.split(":") for line in machine.read_text().splitlines())
    own = [int(fields[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal")]
    container = _container(cgroup)
    return Memory(min(own[0], container.available), min(own[1], container.limit))


def private_bytes(pid: int) -> int:
    """Return the bytes that a process holds itself: anonymous and shared memory, not mapped files. 0 if it has ended."""
    fields = _status(pid)
    return fields.get("RssAnon", 0) + fields.get("RssShmem", 0)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, what it shares with its parent included; 0 if it has ended."""
    return _status(pid).get("VmRSS", 0)


def peak_bytes(pid: int) -> int:
    """Return the most resident memory that a process has had so far; 0 if it has ended."""
    return _status(pid).get("VmHWM", 0)


def _status(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {
        name: int(value.split()[0]) * 1024
        for name, _, value in (line.partition(":") for line in lines)
        if " kB" in value
    }


def _container(cgroup: Path) -> Memory:
    """Return the limit of this container's cgroup (version 2 or 1, as it is mounted in a container)."""
    for folder, limit, usage, files in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            bound = (folder / limit).read_text().strip()
            if bound == "max":
                continue
            used = int((folder / usage).read_text())
            cached = next(
                int(line.split()[1])
                for line in (folder / "memory.stat").read_text().splitlines()
                if line.startswith(files)
            )
            return Memory(int(bound) - used + cached, int(bound))
        except OSError:
            continue
    return Memory(_NO_LIMIT, _NO_LIMIT)
