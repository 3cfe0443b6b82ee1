"""TorchServe 0.12 with one worker and batching, configured for the most requests per second on one core."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import server
from benchmarks.torchserve.environment import torchserve_environment
from tests.installation import ROOT, free_ports

HERE = Path(__file__).parent
#: How long TorchServe lets a batch wait for more rows, in milliseconds; TorchServe has no finer unit.
MAX_BATCH_DELAY_MS = 1
#: Requests that may wait for the worker. The default, 100, would refuse some of 128 connections.
QUEUE_SIZE = 1024


class Model(NamedTuple):
    """What TorchServe serves.

    Attributes:
        handler: the file of the class that runs it.
        batch_size: rows of a batch at most.
    """

    name: str
    handler: Path
    batch_size: int


SPAM = Model("spam", HERE / "handler.py", 128)
IMAGES = Model("resnet18", HERE / "image_handler.py", 32)


class TorchServe(NamedTuple):
    """TorchServe as it runs.

    Attributes:
        url: that takes predictions.
        process: the id of its process, whose children are the workers.
    """

    url: str
    process: int


@contextmanager
def torchserve(model: Model, artifact: Path) -> Iterator[TorchServe]:
    """Serve a model whose files are in the folder ``artifact``.

    Raises:
        UnavailableError: Java is missing, or the package cannot be installed.
    """
    programs = torchserve_environment()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        store = home / "store"
        store.mkdir()
        _archive(programs, model, artifact, store)
        inference, *others = free_ports(5)
        configuration = home / "config.properties"
        configuration.write_text(_configuration(model, inference, others))
        command = [str(programs / "torchserve"), "--foreground", "--disable-token-auth", "--no-config-snapshots"]
        command += ["--model-store", str(store), "--models", f"{model.name}={model.name}"]
        command += ["--ts-config", str(configuration), "--log-config", str(HERE / "log4j2.xml")]
        # TorchServe puts its PID file and its workers' sockets into the temporary folder.
        environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(home), "TEMP": str(home)}
        address = f"http://127.0.0.1:{inference}"
        with server(command, ready_url=f"{address}/ping", environment=environment, folder=home) as process:
            yield TorchServe(f"{address}/predictions/{model.name}", process)


def _archive(programs: Path, model: Model, artifact: Path, store: Path) -> None:
    command = [str(programs / "torch-model-archiver"), "--model-name", model.name, "--version", "1.0"]
    command += ["--handler", str(model.handler), "--extra-files", ",".join(map(str, artifact.iterdir()))]
    command += ["--export-path", str(store), "--archive-format", "no-archive"]
    subprocess.run(
        command, check=True, capture_output=True, env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    )


def _configuration(model: Model, inference: int, others: list[int]) -> str:
    management, metrics, grpc_inference, grpc_management = others
    worker = {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": model.batch_size,
        "maxBatchDelay": MAX_BATCH_DELAY_MS,
        "responseTimeout": 120,
        "defaultVersion": True,
        "marName": model.name,
    }
    settings = {
        "inference_address": f"http://127.0.0.1:{inference}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "grpc_inference_port": grpc_inference,
        "grpc_management_port": grpc_management,
        "job_queue_size": QUEUE_SIZE,
        "disable_system_metrics": "true",
        "models": json.dumps({model.name: {"1.0": worker}}),
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
