"""A supervisor keeps its part running, reports what happens to it, and never leaves it behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from penstock_cli.part_state import PartState
from penstock_cli.restart_policy import FIRST_DELAY, MOST_IN_A_ROW, STEADY_SECONDS, RestartPolicy
from penstock_cli.rotated_log import OLDER_FILES, RotatedLog
from tests.installation import until

SLEEP = [sys.executable, "-c", "print('started', flush=True); import time; time.sleep(600)"]
#: The module's main, with pauses that are too short to matter.
PATIENCE_REMOVED = (
    "import sys; from penstock_cli import restart_policy, supervisor; "
    "restart_policy.FIRST_DELAY = 0.001; sys.exit(supervisor.main())"
)


class Supervised:
    """A supervisor of ``command`` in a process of its own."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.state_path, self.log_path = folder / "part.state", folder / "part.log"
        arguments = [str(self.state_path), str(self.log_path), "1000000", *command]
        self.process = subprocess.Popen([sys.executable, "-c", PATIENCE_REMOVED, *arguments])

    @property
    def state(self) -> PartState:
        return PartState.read(self.state_path)

    @property
    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def part(self, restarts: int = 0) -> psutil.Process:
        """The part's process once it prints, after that many restarts."""
        until(lambda: self.log.count("started") > restarts and self.state.pid is not None, "the part")
        return psutil.Process(self.state.pid)


@pytest.fixture
def sleeping(tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(tmp_path, SLEEP)
    try:
        yield supervised
    finally:
        supervised.process.kill()
        supervised.process.wait()


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_killed_part_is_started_again(sleeping: Supervised) -> None:
    """The state counts the restart and says how the process ended; so does the log."""
    first = sleeping.part()
    first.kill()
    second = sleeping.part(restarts=1)
    assert second.pid != first.pid
    assert sleeping.state == PartState(pid=second.pid, restarts=1, last_exit="killed by SIGKILL")
    assert "supervisor: killed by SIGKILL; starting it again" in sleeping.log


def test_a_stop_ends_the_part_and_then_the_supervisor(sleeping: Supervised) -> None:
    """SIGTERM is passed on; the part is not started again."""
    part = sleeping.part()
    sleeping.process.send_signal(signal.SIGTERM)
    assert sleeping.process.wait(30) == 0
    assert gone(part)
    assert sleeping.log.count("started") == 1


def test_a_killed_supervisor_leaves_no_orphan(sleeping: Supervised) -> None:
    """The kernel ends the part with the supervisor."""
    part = sleeping.part()
    sleeping.process.kill()
    until(lambda: gone(part), "the end of the part")


def test_a_part_that_keeps_ending_is_given_up(tmp_path: Path) -> None:
    """After the last restart the supervisor ends, and leaves the reason and what the part printed."""
    supervised = Supervised(tmp_path, [sys.executable, "-c", "import sys; print('no such folder'); sys.exit(7)"])
    assert supervised.process.wait(60) == 1
    assert supervised.state == PartState(restarts=MOST_IN_A_ROW, last_exit="ended with status 7", gave_up=True)
    assert supervised.log.count("no such folder") == MOST_IN_A_ROW + 1


def test_a_command_that_does_not_exist_is_given_up(tmp_path: Path) -> None:
    """The reason names it."""
    supervised = Supervised(tmp_path, ["/no/such/program"])
    assert supervised.process.wait(60) == 1
    assert "/no/such/program" in supervised.state.last_exit


def test_the_end_of_a_part_is_noticed_while_its_output_is_open(tmp_path: Path) -> None:
    """A process that a part has left behind may hold its output open."""
    holder = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    supervised = Supervised(tmp_path, [sys.executable, "-c", holder])
    try:
        assert supervised.process.wait(60) == 1
    finally:
        for line in supervised.log.split():
            if line.isdigit():
                os.kill(int(line), signal.SIGKILL)


def test_restarts_wait_longer_each_time_until_there_is_none() -> None:
    """The pause doubles; a part that ran for a while begins anew."""
    policy = RestartPolicy()
    delays = [policy.delay_after(1.0) for _ in range(MOST_IN_A_ROW)]
    assert delays == [FIRST_DELAY * 2**i for i in range(MOST_IN_A_ROW)]
    assert policy.delay_after(1.0) is None
    assert policy.delay_after(STEADY_SECONDS) == FIRST_DELAY


def test_a_log_keeps_the_newest_lines_in_bounded_files(tmp_path: Path) -> None:
    """The oldest file is deleted; lines stay whole and in order across files."""
    path = tmp_path / "part.log"
    log = RotatedLog(path, 4000)
    written = [f"line {i:04}" for i in range(2000)]
    data = "".join(f"{line}\n" for line in written).encode()
    for start in range(0, len(data), 17):
        log.write(data[start : start + 17])
    files = [path.with_name(f"part.log.{i}") for i in range(OLDER_FILES, 0, -1)] + [path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    kept = "".join(file.read_text() for file in files).splitlines()
    assert kept == written[-len(kept) :]
    assert 3000 < sum(file.stat().st_size for file in files) <= 4000


def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    """Its memory is bounded, and the supervisor's own lines begin on a line of their own."""
    log = RotatedLog(tmp_path / "part.log", 10_000_000)
    for _ in range(40):
        log.write(b"x" * 10_000)
    log.note("killed by SIGKILL")
    lines = (tmp_path / "part.log").read_text().splitlines()
    assert max(map(len, lines)) < 80_000
    assert sum(map(len, lines[:-1])) == 400_000
    assert lines[-1] == "supervisor: killed by SIGKILL"
