"""A training as a program: it waits for the registry, trains, registers, and prints what it measured."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from penstock_common.errors import PenstockError
from penstock_common.manifest import Format, is_name
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION
from penstock_training.evaluate import baseline_answer
from penstock_training.fit import Progress
from penstock_training.pipeline import HELD_OUT, Trained, register

_PATIENCE = 60.0  # seconds to wait for a registry that is starting


class FormatName(StrEnum):
    pt2 = "pt2"
    torchscript = "torchscript"
    onnx = "onnx"


_FORMATS = {
    FormatName.pt2: Format.TORCH_EXPORT,
    FormatName.torchscript: Format.TORCHSCRIPT,
    FormatName.onnx: Format.ONNX,
}


#: Arguments: artifact folder, format (None for the training's own), seed, progress.
Training = Callable[[Path, Format | None, int, Progress], Trained]


@dataclass(frozen=True)
class TrainingRun:
    """What the options of all trainings say; ``__main__`` describes each."""

    name: str
    registry_url: str
    out: Path | None
    no_register: bool
    format: FormatName | None
    seed: int
    promote: bool
    if_missing: bool
    as_json: bool

    def run(self, training: Training) -> None:
        """Do all of it; print an error as one sentence.

        Raises:
            typer.Exit: with status 1 after an error.
        """
        console = Console(stderr=self.as_json)
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        try:
            if not is_name(self.name):
                raise PenstockError(
                    422,
                    "bad-name",
                    f"{self.name!r} cannot be a model's name, which has small letters, digits, '.', '_' and '-'; choose "
                    "one with --name.",
                )
            if self.if_missing and asyncio.run(self._is_served()):
                console.print(f"{self.name}: {PRODUCTION} already points at a version; nothing to do")
                return
            with tempfile.TemporaryDirectory() as temporary:
                folder = self.out or Path(temporary) / self.name
                folder.mkdir(parents=True, exist_ok=True)
                trained = self._train(training, folder, console)
                result = {"model": self.name, "metrics": trained.report["metrics"], "rows": trained.rows}
                if not self.no_register:
                    version, promotion = asyncio.run(self._register(folder, trained))
                    result |= {"version": version, "promotion": promotion}
        except PenstockError as err:
            console.print(f"[red]{self.name}:[/red] {escape(err.detail)}", highlight=False, soft_wrap=True)
            raise typer.Exit(1) from None
        if self.as_json:
            print(json.dumps(result))
            return
        _print_report(console, self.name, trained)
        if "version" in result:
            console.print(f"registered as version {result['version']}; {result['promotion']}")

    def _train(self, training: Training, folder: Path, console: Console) -> Trained:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeElapsedColumn(),
        )
        with ProgressBar(*columns, console=console) as bar:
            task = bar.add_task(f"train {self.name}", total=None, loss=0.0)

            def progress(done: int, total: int, loss: float) -> None:
                bar.update(task, completed=done, total=total, loss=loss)

            return training(folder, _FORMATS[self.format] if self.format else None, self.seed, progress)

    def _client(self) -> RegistryClient:
        token_file = os.environ.get("PENSTOCK_REGISTRY_TOKEN_FILE")
        return RegistryClient(self.registry_url, Path(token_file) if token_file else None, timeout=60.0)

    async def _is_served(self) -> bool:
        """Return whether ``production`` points at a version; wait for a registry that starts later than this process."""
        give_up = time.monotonic() + _PATIENCE
        async with self._client() as client:
            while True:
                try:
                    return any(PRODUCTION in m.aliases for m in await client.models() if m.name == self.name)
                except PenstockError as err:
                    if err.code != "registry-unreachable" or time.monotonic() > give_up:
                        raise
                    await asyncio.sleep(0.5)

    async def _register(self, folder: Path, trained: Trained) -> tuple[int, str]:
        async with self._client() as client:
            version, promotion = await register(client, self.name, folder, trained, promote=self.promote)
            return version.version, promotion


def _print_report(console: Console, name: str, trained: Trained) -> None:
    baseline: dict[str, float] = trained.report["baseline"]["metrics"]
    table = Table(title=f"{name}: held-out {HELD_OUT:.0%} of {trained.rows:,} {trained.unit}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column(f"always {baseline_answer(trained.report)}", justify="right")
    for metric, value in trained.report["metrics"].items():
        always = f"{baseline[metric]:,.4f}" if metric in baseline else ""
        table.add_row(metric, f"{value:,.4f}", always)
    console.print(table)
    left_out = [f"{count:,} {reason}" for reason, count in trained.report["left_out"].items() if count]
    if left_out:
        console.print(f"left out: {', '.join(left_out)}")
