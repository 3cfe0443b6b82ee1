"""Runs a program of a service beside the command line, which imports none of its frameworks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: Lines of a program's errors that are shown if it ends without an answer.
_LAST_LINES = 10


@dataclass(frozen=True)
class Done:
    """How a program ended.

    Attributes:
        answer: the last line of its output; empty if there is none.
        errors: the last lines of its errors.
    """

    status: int
    answer: bytes
    errors: str


def run_program(module: str, arguments: Sequence[str], given: bytes = b"") -> Done:
    """Run a module of ours as a program.

    Args:
        given: for its input.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603 (our own program)
    answer = (done.stdout.splitlines() or [b""])[-1]
    return Done(done.returncode, answer, _last_lines(done.stderr))


def follow_program(module: str, arguments: Sequence[str], tell: Callable[[bytes], None]) -> Done:
    """Run a module of ours as a program without input.

    Args:
        tell: is called with each line of its output as it comes.
    """
    command = [sys.executable, "-m", module, *arguments]
    answer = b""
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as program:  # noqa: S603 (our own program)
            for line in program.stdout or ():
                answer = line.rstrip(b"\n")
                tell(answer)
        errors.seek(0)
        return Done(program.returncode, answer, _last_lines(errors.read()))


def _last_lines(errors: bytes) -> str:
    return "\n".join(errors.decode(errors="replace").splitlines()[-_LAST_LINES:])
