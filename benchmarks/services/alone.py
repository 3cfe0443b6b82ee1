"""A process on the serving core that runs a service's model without a server when asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.processes import PIN
from benchmarks.services.rounds import LeftOutError, Round
from benchmarks.services.samples import Sample
from tests.installation import ROOT


class Alone:
    """The process; what is asked waits for its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def round(self, batch: int, seconds: float) -> Round:
        """Run batches of so many samples for some seconds."""
        return Round(**self._ask({"batch": batch, "seconds": seconds}))

    def answers(self) -> list[Any]:
        """Return the answers to all samples."""
        return list(self._ask({}))

    def _ask(self, asked: dict[str, float]) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the model alone ended without an answer; its error is above")
        return json.loads(line)


@contextmanager
def alone(service: str, artifact: Path, samples: list[Sample], file: Path) -> Iterator[Alone]:
    """Load a service's model.

    Args:
        file: where the samples are written for the process.

    Raises:
        LeftOutError: the package that the model comes with is not installed.
    """
    file.write_bytes(msgspec.json.encode(samples))
    program = [sys.executable, "-m", "benchmarks.services.alone_program", service, str(artifact), str(file)]
    with subprocess.Popen(
        [*PIN, *program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            one = Alone(process)
            if reason := one.read()["left_out"]:
                raise LeftOutError(reason)
            yield one
        finally:
            process.kill()
