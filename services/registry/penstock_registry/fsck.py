"""A check of the whole store: every log from its first entry, every checkpoint, every blob that a version names."""

from __future__ import annotations

import msgspec

from penstock_common.registry_models import FsckProblem, FsckReport
from penstock_registry.blobs import Blobs
from penstock_registry.model_log import ModelLog
from penstock_registry.model_logs import ModelLogs
from penstock_registry.model_state import ModelState

_LOST = "put the file back from a backup, or give it up: penstock registry repair {model}"
_LOST_BEFORE = "put the file back from a backup; until then the state comes from state.json alone"
_CHECKPOINT = "delete it, and restart the registries; it is made again from the log"
_BLOB = "push the same files again, or take the version away: penstock registry quarantine {model} {version}"


async def check_store(logs: ModelLogs, blobs: Blobs, *, deep: bool) -> FsckReport:
    """Look at everything; with ``deep``, read the bytes of all blobs as well. Nothing is changed."""
    await logs.refresh_all()
    report = FsckReport(logs.store_id, 0, 0, 0, [])
    report.problems += [
        FsckProblem(name, "log", "the store fails to give it", "look into the registry's log") for name in logs.failing
    ]
    seen: dict[str, str | None] = {}
    for state in logs.states:
        report.models += 1
        await _check_log(logs.log(state.model.name), state, report)
        await _check_blobs(blobs, state, report, seen, deep=deep)
    report.blobs = len(seen)
    return report


async def _check_log(log: ModelLog, state: ModelState, report: FsckReport) -> None:
    """Compare the whole log with the state that is served, and with the checkpoint."""
    name = log.name
    report.entries += len(await log.numbers())
    replayed = await log.replay()
    for damage in replayed.model.damage:
        remedy = _LOST.format(model=name) if damage in state.model.damage else _LOST_BEFORE
        report.problems.append(FsckProblem(name, f"entry {damage.entry}", damage.reason, remedy))
    try:
        checkpoint = await log.shortcuts.read_checkpoint()
    except (msgspec.MsgspecError, ValueError) as err:
        report.problems.append(FsckProblem(name, "state.json", f"it cannot be read: {err}"[:200], _CHECKPOINT))
        return
    if checkpoint is None or replayed.model.damage:
        return
    from_checkpoint = await log.replay(checkpoint)
    if from_checkpoint.revision == replayed.revision and from_checkpoint != replayed:
        report.problems.append(FsckProblem(name, "state.json", "it differs from what the log says", _CHECKPOINT))


async def _check_blobs(
    blobs: Blobs, state: ModelState, report: FsckReport, seen: dict[str, str | None], *, deep: bool
) -> None:
    for number, version in state.model.versions.items():
        for file in version.files:
            if file.sha256 not in seen:
                seen[file.sha256] = await (blobs.problem(file, anew=True) if deep else blobs.size_problem(file))
            problem = seen[file.sha256]
            if problem is not None:
                name = state.model.name
                remedy = _BLOB.format(model=name, version=number)
                report.problems.append(FsckProblem(name, f"version {number}", problem, remedy))
