"""The programs of the inference service that try a model on this machine: run beside the command line, never in it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec

from penstock_cli.programs import run_program
from penstock_common.check_report import CheckReport
from penstock_common.errors import PenstockError
from penstock_common.file_signature import FileSignature, SignatureRequest, Unreadable


def why_not_here() -> str:
    """Return why models cannot be tried on this machine; empty if they can."""
    absent = [name for name in ("penstock_inference", "torch") if importlib.util.find_spec(name) is None]
    if not absent:
        return ""
    return f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed here; pip install penstock-inference."


def check(folder: Path) -> CheckReport:
    """Return whether a pod would serve an artifact.

    Raises:
        PenstockError: 503 ``cannot-check`` if it cannot be tried here.
    """
    answer = _answer("check", [str(folder.absolute())], b"")
    return msgspec.json.decode(answer, type=CheckReport)


def read_signature(request: SignatureRequest) -> FileSignature:
    """Return what a model's file says of itself.

    Raises:
        PenstockError: 422 ``unreadable-model`` with the reason; 503 ``cannot-check`` if it cannot be tried here.
    """
    answer = _answer("signature", [], msgspec.json.encode(request))
    try:
        return msgspec.json.decode(answer, type=FileSignature)
    except msgspec.ValidationError:
        reason = msgspec.json.decode(answer, type=Unreadable).reason
        raise PenstockError(422, "unreadable-model", reason) from None


def _answer(program: str, arguments: list[str], given: bytes) -> bytes:
    """Run a program; return the last line of its output."""
    reason = why_not_here()
    if reason:
        raise PenstockError(503, "cannot-check", f"The model cannot be tried: {reason}")
    done = run_program(f"penstock_inference.{program}", arguments, given)
    if done.status not in (0, 1) or not done.answer:
        text = f"The trial of the model ended with status {done.status}:\n{done.errors}"
        raise PenstockError(503, "cannot-check", text)
    return done.answer
