"""How much memory there is, and how much a process takes."""

from __future__ import annotations

from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Return the bytes that can still be taken: the machine's, or what the container's limit leaves if that is less.

    Pages of files count as available, since the kernel drops them when memory is short.
    """
    return min(_machine_bytes(), _container_bytes())


def private_bytes(pid: int) -> int:
    """Return the bytes that a process holds itself: anonymous and shared memory, not mapped files. 0 if it has ended."""
    fields = _status(pid)
    return fields.get("RssAnon", 0) + fields.get("RssShmem", 0)


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, what it shares with its parent included; 0 if it has ended."""
    return _status(pid).get("VmRSS", 0)


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


def _machine_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    line = next(line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def _container_bytes() -> int:
    """Return what the limit of this container's cgroup leaves (version 2 or 1, as it is mounted in a container)."""
    for folder, limit, usage, files in (
        (_CGROUP, "memory.max", "memory.current", "inactive_file"),
        (_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
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
            return int(bound) - used + cached
        except OSError:
            continue
    return 1 << 62
