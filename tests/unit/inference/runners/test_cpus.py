"""The threads of an operator follow the container's limit of CPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock_inference.runners.cpus import cpu_limit, operator_threads


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_limit_is_that_of_the_cgroup(files: dict[str, str], limit: float | None, tmp_path: Path) -> None:
    """In either version of cgroups; without a limit, or without cgroups, there is none."""
    assert cpu_limit(write(tmp_path, files)) == limit


@pytest.mark.parametrize(
    ("setting", "quota", "threads"),
    [(0, "3", 3), (0, "2.9", 2), (0, "0.25", 1), (0, "max", 1), (4, "2", 4), (0, "9", 8)],
)
def test_threads_are_chosen_or_those_of_the_limit(
    setting: int, quota: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting wins. Else they are the limit's whole CPUs, one at least, and no more than the process may run on."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    text = "max 100000" if quota == "max" else f"{int(float(quota) * 100000)} 100000"
    assert operator_threads(setting, write(tmp_path, {"cpu.max": text})) == threads


def test_a_machine_with_many_cpus_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine has makes no difference to a container with a limit, nor to one without."""
    monkeypatch.setattr(os, "cpu_count", lambda: 96)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(96)))
    assert operator_threads(0, tmp_path) == 1
    assert operator_threads(0, write(tmp_path, {"cpu.max": "200000 100000"})) == 2
