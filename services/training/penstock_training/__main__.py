"""``python -m penstock_training``: train one of the examples and register it."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from penstock_common.errors import PenstockError
from penstock_common.manifest import Format
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION
from penstock_training import digits, price, spam
from penstock_training.pipeline import HELD_OUT, Pipeline, Trained, register

_PATIENCE = 60.0  # seconds to wait for a registry that is starting
PIPELINES: dict[str, Pipeline] = {"spam": spam.train, "digits": digits.train, "price": price.train}


class FormatName(StrEnum):
    pt2 = "pt2"
    torchscript = "torchscript"
    onnx = "onnx"


_FORMATS = {
    FormatName.pt2: Format.TORCH_EXPORT,
    FormatName.torchscript: Format.TORCHSCRIPT,
    FormatName.onnx: Format.ONNX,
}


class Name(StrEnum):
    spam = "spam"
    digits = "digits"
    price = "price"


def main(
    name: Annotated[Name, typer.Argument(help="What to train.")],
    data: Annotated[Path | None, typer.Option(help="CSV or TSV to train on.", exists=True, dir_okay=False)] = None,
    registry_url: Annotated[str, typer.Option(help="URL of the registry.")] = "http://127.0.0.1:8081",
    out: Annotated[Path | None, typer.Option(help="Folder to keep the artifact in.")] = None,
    no_register: Annotated[bool, typer.Option("--no-register", help="Only write the artifact.")] = False,
    format: Annotated[FormatName | None, typer.Option(help="File format of the model.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split and the training.")] = 0,
    promote: Annotated[bool, typer.Option(help="Point production at it if it is better than the current one.")] = True,
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Do nothing if production points at a version.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train an example model, evaluate it on held-out data and register it.

    Example: python -m penstock_training spam --data messages.tsv
    """
    console = Console(stderr=as_json)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        if if_missing and asyncio.run(_is_served(registry_url, name.value)):
            console.print(f"{name.value}: {PRODUCTION} already points at a version; nothing to do")
            return
        with tempfile.TemporaryDirectory() as temporary:
            folder = out or Path(temporary) / name.value
            folder.mkdir(parents=True, exist_ok=True)
            trained = _train(name.value, data, folder, _FORMATS[format] if format else None, seed, console)
            result: dict[str, Any] = {"model": name.value, "metrics": trained.report["metrics"], "rows": trained.rows}
            if not no_register:
                version, promotion = asyncio.run(_register(registry_url, name.value, folder, trained, promote))
                result |= {"version": version, "promotion": promotion}
    except PenstockError as err:
        console.print(f"[red]{name.value}:[/red] {err.detail}", highlight=False)
        raise typer.Exit(1) from None
    if as_json:
        print(json.dumps(result))
        return
    table = Table(title=f"{name.value}: held-out {HELD_OUT:.0%}")
    table.add_column("metric")
    table.add_column("value", justify="right")
    for metric, value in result["metrics"].items():
        table.add_row(metric, f"{value:,.4f}")
    console.print(table)
    if "version" in result:
        console.print(f"registered as version {result['version']}; {result['promotion']}")


def _train(name: str, data: Path | None, folder: Path, format_: Format | None, seed: int, console: Console) -> Trained:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"train {name}", total=None, loss=0.0)

        def progress(done: int, total: int, loss: float) -> None:
            bar.update(task, completed=done, total=total, loss=loss)

        return PIPELINES[name](data, folder, format_, seed, progress)


def _client(url: str) -> RegistryClient:
    token_file = os.environ.get("PENSTOCK_REGISTRY_TOKEN_FILE")
    return RegistryClient(url, Path(token_file) if token_file else None, timeout=60.0)


async def _is_served(url: str, model: str) -> bool:
    """Return whether ``production`` points at a version; wait for a registry that starts later than this process."""
    give_up = time.monotonic() + _PATIENCE
    async with _client(url) as client:
        while True:
            try:
                return any(PRODUCTION in m.aliases for m in await client.models() if m.name == model)
            except PenstockError as err:
                if err.code != "registry-unreachable" or time.monotonic() > give_up:
                    raise
                await asyncio.sleep(0.5)


async def _register(url: str, model: str, folder: Path, trained: Trained, promote: bool) -> tuple[int, str]:
    async with _client(url) as client:
        version, promotion = await register(client, model, folder, trained, promote=promote)
        return version.version, promotion


if __name__ == "__main__":
    typer.run(main)
