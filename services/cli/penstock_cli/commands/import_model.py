"""``penstock import``: a model's file or folder becomes an artifact."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from penstock_cli import inference_programs, model_source
from penstock_cli.manifest_draft import Draft, draft_manifest
from penstock_cli.model_questions import ask_labels, split_labels
from penstock_cli.placed_signature import placed_signature
from penstock_cli.report_table import failure, print_report
from penstock_cli.tensor_option import parse_input, parse_output
from penstock_cli.terminal import AsJson, console, errors_for_the_user
from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Task

app = typer.Typer()


@app.command("import", epilog="Example: penstock import downloads/resnet.onnx --name photos")
def import_model(
    source: Annotated[
        str, typer.Argument(help="A file, a folder, a .zip of these, or hf:ORG/NAME of Hugging Face's hub.")
    ],
    name: Annotated[str, typer.Option(help="The model's name; that of the file if absent.")] = "",
    output: Annotated[Path | None, typer.Option(help="The artifact's folder; ./NAME if absent.")] = None,
    task: Annotated[Task | None, typer.Option(help="What the model does, if the file does not say.")] = None,
    labels: Annotated[str, typer.Option(help="Names of the classes in their order, with commas.")] = "",
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="An input, e.g. 'readings=FP32[4]', if the file does not say.")
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output-tensor", help="An output, if a run with zeros does not show it.")
    ] = None,
    examples: Annotated[
        list[str] | None, typer.Option("--example", help="A row in JSON that the model is tried with.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recognise a model by its content, write an artifact with model.yaml, and check it.

    The file is read in a confined process. At a terminal, what it does not say is asked.
    """
    with errors_for_the_user():
        name = name or _name(source)
        folder = output or Path(name)
        _check_free(folder)
        given = [parse_input(text) for text in inputs or []]
        interactive = sys.stdin.isatty() and not as_json
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".import-", dir=folder.absolute().parent))
        try:
            placed = model_source.place(source, staging)
            signature = placed_signature(
                source, staging, placed, given, [parse_output(text) for text in outputs or []], interactive=interactive
            )
            chosen = split_labels(labels) or (ask_labels(signature, task) if interactive else [])
            rows = [_example(text) for text in examples or []]
            draft = draft_manifest(signature, placed.format, placed.file, task=task, labels=chosen, examples=rows)
            if placed.remedy:
                draft.notes["format"] = [f"Better: {placed.remedy}."]
            (staging / MANIFEST_FILE).write_text(draft.text())
            staging.chmod(0o755)
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        _check(name, folder, draft, as_json)


def _check(name: str, folder: Path, draft: Draft, as_json: bool) -> None:
    """Check what was written and print the next command; exit with status 1 if a pod would not serve it."""
    report = inference_programs.check(folder)
    following = f"penstock push {name} {folder}"
    if as_json:
        manifest = draft.manifest
        found: dict[str, Any] = {"name": name, "folder": str(folder), "format": manifest.format, "task": manifest.task}
        found |= {"guesses": draft.notes, "check": msgspec.to_builtins(report), "next": following}
        print(json.dumps(found))
        if not report.passed:
            raise typer.Exit(1)
        return
    console.print(f"{folder / MANIFEST_FILE}:", markup=False, highlight=False)
    console.print(draft.text(), markup=False, highlight=False, soft_wrap=True)
    if not report.passed:
        error = failure(folder, report)
        error.detail += f" Correct {folder / MANIFEST_FILE} and try again with penstock check {folder}."
        raise error
    print_report(folder, report)
    console.print(f"next: {following}", markup=False, highlight=False, soft_wrap=True)


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PenstockError(409, "exists", f"{folder} exists; choose another folder with --output, or remove it.")


def _name(source: str) -> str:
    """Return the name of a model for a file: its own in small letters, without what a name may not have."""
    last = source.removeprefix(model_source.HUB).partition("@")[0].rstrip("/").rpartition("/")[2]
    stem = Path(last).stem if Path(last).suffix else last
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("._-")[:63]
    return cleaned or "model"


def _example(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as err:
        raise PenstockError(422, "bad-example", f"--example {text!r} is not JSON: {err}.") from None
    if not isinstance(row, dict):
        raise PenstockError(422, "bad-example", f"--example {text!r} is not one row: write an object of fields.")
    return row
