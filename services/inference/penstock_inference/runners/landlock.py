"""Which files a process can reach (Landlock, Linux 5.13); newer kernels also take TCP and signals to others from it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION, _PATH_BENEATH = 1, 1

_READ_FILE, _READ_DIR, _WRITE_FILE, _TRUNCATE, _IOCTL_DEVICE = 1 << 2, 1 << 3, 1 << 1, 1 << 14, 1 << 15
#: Bits of the rights to files that each version of the interface knows, the first one's first.
_FILE_RIGHTS = (13, 14, 15, 15, 16)
_TCP_SINCE, _TCP_RIGHTS = 4, 0b11  # bind and connect
_SCOPES_SINCE, _SCOPES = 6, 0b11  # abstract unix sockets and signals


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def landlock_version() -> int:
    """Return the version of the kernel's interface; 0 if it has none or a container's profile forbids it."""
    version: int = _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GET_VERSION)
    return max(0, version)


def restrict_files(readable: Iterable[Path], devices: Iterable[Path]) -> None:
    """Let this thread and those that it starts reach nothing but these paths and what is beneath. Needs ``no_new_privs``.

    Descriptors that are open stay as they are. One is kept for each path of procfs: the kernel makes a new object of a
    file there once nobody holds the old one, and the rule would not be for it.

    Args:
        readable: files and folders to read; those that do not exist are left out.
        devices: files to read and write, and folders of such files.

    Raises:
        OSError: the kernel refused it.
    """
    version = landlock_version()
    handled = (1 << _FILE_RIGHTS[min(version, len(_FILE_RIGHTS)) - 1]) - 1
    ruleset = _Ruleset(
        handled,
        _TCP_RIGHTS if version >= _TCP_SINCE else 0,
        _SCOPES if version >= _SCOPES_SINCE else 0,
    )
    known_bytes = 24 if version >= _SCOPES_SINCE else 16 if version >= _TCP_SINCE else 8
    fd = _call(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(known_bytes), 0)
    try:
        for path in readable:
            _allow(fd, path, _READ_FILE | (_READ_DIR if path.is_dir() else 0))
        for path in devices:
            _allow(fd, path, (_READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEVICE) & handled)
        _call(_RESTRICT_SELF, fd, 0)
    finally:
        os.close(fd)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = _PathBeneath(rights, fd)
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        if not path.is_relative_to("/proc"):
            os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"Landlock: {os.strerror(code)}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
