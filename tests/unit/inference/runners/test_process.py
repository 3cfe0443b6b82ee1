"""A model's process: what it answers, how it ends, and that it ends alone."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Resources
from penstock_inference.engine.message import Outputs
from penstock_inference.runners.forker import Forker
from penstock_inference.runners.process import LoadFailedError, ModelFailedError, ModelProcess, ProcessEndedError
from tests.unit.inference.runners.conftest import Start


async def run(process: ModelProcess, *values: float) -> Outputs:
    """Run one message of these rows."""
    async with asyncio.timeout(30):
        return await process.run([{"x": np.array(values, np.float32)}], len(values))


async def test_rows_of_several_messages_run_together(start: Start) -> None:
    """They come back in order, however large: the shared memory grows with the batch."""
    process = await start("double")
    for rows in (1, 3, 100_000, 2):
        parts = [{"x": np.arange(rows, dtype=np.float32)}, {"x": np.full(rows, -1, np.float32)}]
        (outputs,) = await process.run(parts, 2 * rows)
        assert np.array_equal(outputs, 2 * np.concatenate([part["x"] for part in parts]))


async def test_an_answer_stays_what_it_is(start: Start) -> None:
    """Later batches do not change the outputs of those before them, however many are still in use."""
    process = await start("double")
    answers = [(await run(process, value, value))[0][1:] for value in range(6)]
    assert [answer.tolist() for answer in answers] == [[2 * value] for value in range(6)]


async def test_outputs_may_be_larger_than_inputs(start: Start) -> None:
    """The process asks for the memory that they need."""
    process = await start("widen")
    (outputs,) = await run(process, 300_000, 1)
    assert outputs.shape == (2, 300_000)
    assert outputs[1].tolist() == [1] * 300_000
    assert (await run(process, 2))[0].tolist() == [[2, 2]]


async def test_texts_travel(start: Start) -> None:
    """BYTES are the same bytes on the other side, and come back as bytes."""
    process = await start("reverse", "BYTES")
    parts = []
    for texts in (["abc", ""], ["Größe"]):
        array = np.empty(len(texts), np.object_)
        array[:] = [text.encode() for text in texts]
        parts.append({"x": array})
    (outputs,) = await process.run(parts, 3)
    assert outputs.tolist() == [b"cba", b"", "Größe".encode()[::-1]]


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [("bad_row", 422, "The row is bad."), ("impostor", 500, "Send me your key."), ("fail", None, "a fault of the")],
)
async def test_an_error_is_an_answer(start: Start, name: str, status: int | None, text: str) -> None:
    """It comes back as text, with one of few statuses; the process runs the next batch."""
    process = await start(name)
    with pytest.raises((PenstockError, ModelFailedError), match=text) as caught:
        await run(process, -1)
    assert getattr(caught.value, "status", None) == status
    assert (await run(process, 4))[0].tolist() == [8]


async def test_memory_has_a_bound(start: Start) -> None:
    """An allocation beyond it fails with the bound in the text; the process survives."""
    process = await start("allocate")
    with pytest.raises(ModelFailedError, match=r"needs more than 256 MB: .*Unable to allocate"):
        await run(process, -1)
    assert (await run(process, 4))[0].tolist() == [8]


async def test_the_gpus_memory_is_not_the_processs(start: Start) -> None:
    """A GPU that is full is told as PyTorch tells it, without the process's own bound; the process survives."""
    process = await start("fill_gpu")
    with pytest.raises(ModelFailedError) as caught:
        await run(process, -1)
    assert str(caught.value) == "RuntimeError: CUDA out of memory. Tried to allocate 20.00 GiB."
    assert (await run(process, 4))[0].tolist() == [8]


async def test_a_process_that_has_lost_its_gpu_ends(start: Start) -> None:
    """Its batch gets the error; every later one would get it too, so another process takes its place."""
    process = await start("lose_gpu")
    with pytest.raises(ModelFailedError, match="illegal memory access"):
        await run(process, -1)
    await asyncio.wait_for(process.ended.wait(), 30)
    assert process.cause == "exit"


async def test_the_device_comes_with_the_load(start: Start) -> None:
    """Without a GPU it is the CPU, which has no memory of its own."""
    process = await start("double")
    assert (process.device, process.gpu_bytes) == ("cpu", 0)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("crash", "sigsegv"),
        ("leave", "exit"),
        ("loop", "hang"),
        ("hold", "silent"),
        ("map_shared", "memory"),
        ("babble", "protocol"),
        ("claim", "protocol"),
    ],
)
async def test_a_process_ends_alone(start: Start, name: str, cause: str) -> None:
    """Whatever a model does, its batch fails with the cause, and a model beside it answers all the time."""
    innocent, culprit = await start("double"), await start(name)
    running = asyncio.create_task(run(culprit, -1))
    answered = 0
    while not running.done():
        assert (await run(innocent, 1))[0].tolist() == [2]
        answered += 1
        await asyncio.sleep(0.01)
    with pytest.raises(ProcessEndedError):
        await running
    await culprit.ended.wait()
    assert culprit.cause == cause
    assert answered > 0
    assert (await run(innocent, 1))[0].tolist() == [2]
    assert not psutil.pid_exists(culprit.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_an_idle_process_that_is_killed_or_stopped_is_noticed(start: Start, number: int) -> None:
    """Without a message: the next one would be late."""
    process = await start("double")
    os.kill(process.pid, number)
    async with asyncio.timeout(30):
        await process.ended.wait()
    assert process.cause == {signal.SIGKILL: "sigkill", signal.SIGSTOP: "silent"}[signal.Signals(number)]
    with pytest.raises(ProcessEndedError):
        await run(process, 1)


async def test_a_server_that_stood_still_blames_nobody(start: Start) -> None:
    """A run of four seconds that the server slept through is not a hang, though three are allowed."""
    process = await start("loop")
    running = asyncio.create_task(run(process, -1))
    await asyncio.sleep(0.1)
    time.sleep(4)  # the event loop stands still
    await asyncio.sleep(0.6)
    assert not running.done()
    with pytest.raises(ProcessEndedError):
        await running
    assert process.cause == "hang"


async def test_a_run_that_takes_longer_than_any_before_is_a_hang(start: Start) -> None:
    """A process that computes looks like one whose loop has no end. Three seconds are allowed, and five pass."""
    process = await start("nap")
    with pytest.raises(ProcessEndedError):
        await run(process, -1)
    assert process.cause == "hang"


async def test_a_run_may_take_ten_times_the_longest_of_the_trials(start: Start) -> None:
    """So the first full batch of a slow model is no hang."""
    process = await start("nap after 1")
    assert (await run(process, -1))[0].tolist() == [-2]


async def test_a_manifest_says_how_long_a_run_may_take(start: Start) -> None:
    """If the trials have not shown it."""
    process = await start("nap", resources=Resources(max_run_seconds=60))
    assert (await run(process, -1))[0].tolist() == [-2]


async def test_a_long_run_that_shows_its_progress_is_no_hang(start: Start) -> None:
    """Five seconds pass, though three are allowed. What has no progress after that is found soon: the bound is ten times
    the longest step, and not ten times the run."""
    process = await start("steady")
    assert (await run(process, 1))[0].tolist() == [2]
    with pytest.raises(ProcessEndedError):
        await run(process, -1)
    assert process.cause == "hang"
    allowed = re.search(r"took more than (\d+) s", process.reason)
    assert allowed and int(allowed[1]) < 40


@pytest.mark.parametrize(
    ("name", "reason", "permanent"),
    [
        ("unloadable", "^ValueError: not a model$", True),
        ("crash-load", "ended by SIGSEGV while the model was loaded", True),
        ("endless-load", "the load, took more than 3 s", False),
        ("oom-load", "^needs more than 256 MB: .*Unable to allocate", False),
        ("gpu-full-load", "^RuntimeError: CUDA out of memory", False),
    ],
)
async def test_a_load_that_fails_says_why(start: Start, name: str, reason: str, permanent: bool) -> None:
    """In the framework's words, or in ours, and whether it would fail again; no process is left."""
    with pytest.raises(LoadFailedError, match=reason) as caught:
        await start(name)
    assert caught.value.permanent is permanent
    async with asyncio.timeout(10):
        while len(psutil.Process().children(recursive=True)) > 1:  # the parent
            await asyncio.sleep(0.01)


async def test_a_parent_that_ends_takes_its_processes_along_and_is_replaced(start: Start) -> None:
    """A model is served again by a process of the next parent."""
    process = await start("double")
    parent = psutil.Process(process.pid).parent()
    assert parent is not None
    parent.kill()
    async with asyncio.timeout(10):
        await process.ended.wait()
    assert (await run(await start("double"), 1))[0].tolist() == [2]


async def test_closing_leaves_no_process(start: Start, forker: Forker) -> None:
    """Neither parents nor models."""
    await start("double")
    await forker.close()
    assert psutil.Process().children(recursive=True) == []


async def test_no_way_out(start: Start, tmp_path: Path) -> None:
    """A confined process reads its own folder and computes; every other thing that an intruder would try fails."""
    folder = tmp_path / str(os.getpid())
    folder.mkdir()
    (tmp_path / "other").write_bytes(b"other")
    process = await start("look", "BYTES", folder)
    text = np.empty(1, np.object_)
    text[:] = [b""]
    (outputs,) = await process.run([{"x": text}], 1)
    assert outputs[0].decode().split() == ["ok-memory", "ok-random", "ok-read-own-file", "ok-thread"]


async def test_what_a_process_took_for_a_moment_is_known(start: Start) -> None:
    """What it shares with its parent is not part of it."""
    process = await start("swell")
    before = process.most_taken_bytes()
    assert before < 32 * 2**20
    await run(process, -1)
    assert 60 * 2**20 < process.most_taken_bytes() - before < 80 * 2**20
