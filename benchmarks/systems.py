"""The systems under test: each serves the same version of ``spam``, pinned to the serving core."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import PIN, server
from benchmarks.torchserve.server import SPAM, torchserve
from benchmarks.virtual_environments import UnavailableError
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import PRODUCTION
from tests.installation import Installation, free_ports

_PREDICT = "/v1/models/spam/predict"
_JSON = {"Content-Type": "application/json"}

#: By name, in the order of the table: what the system is.
SYSTEMS = {
    "fastapi": "the model called eagerly in a plain FastAPI handler",
    "fastapi-exported": "the same handler with the exported program and its guards",
    "torchserve": "TorchServe 0.12, one worker, batching",
    "bound": "a raw ASGI application that batches in the event loop and does nothing else",
    "uncoalesced": "Penstock's whole path with coalescing off",
    "penstock": "Penstock's whole path: gateway, Envoy, one worker; keys, limits and metrics on",
}


@dataclass
class System:
    """A running system.

    Args:
        warm_up: seconds of load before the first measurement; a JIT compiler needs more than Python does.
    """

    name: str
    url: str
    headers: dict[str, str]
    warm_up: int = 2


@contextmanager
def running(names: Sequence[str], home: Path) -> Iterator[list[System]]:
    """Start the systems ``names``; one whose tools this machine lacks is skipped, with a line that says why.

    The installation is always started, because its registry has the model that all systems serve.
    """
    installation = Installation(home / "penstock", workers=1, prefix=PIN)
    with ExitStack() as stack:
        stack.callback(installation.down)
        installation.up()
        artifact = asyncio.run(fetch_artifact(installation, "spam", home / "artifact"))
        started = []
        for name in SYSTEMS:
            if name not in names:
                continue
            try:
                started.append(stack.enter_context(_system(name, installation, artifact)))
            except UnavailableError as reason:
                print(f"{name} is skipped: {reason}", file=sys.stderr)
        yield started


@contextmanager
def _system(name: str, installation: Installation, artifact: Path) -> Iterator[System]:
    match name:
        case "penstock":
            yield System(name, installation.url + _PREDICT, _with_key(installation))
        case "uncoalesced":
            with _uncoalesced_gateway(installation) as url:
                yield System(name, url + _PREDICT, _with_key(installation))
        case "torchserve":
            with torchserve(SPAM, artifact) as serving:
                yield System(name, serving.url, _JSON, warm_up=30)
        case "fastapi":
            with _baseline("plain_fastapi", artifact, "eager") as url:
                yield System(name, url, _JSON)
        case "fastapi-exported":
            with _baseline("plain_fastapi", artifact, "guarded") as url:
                yield System(name, url, _JSON)
        case "bound":
            with _baseline("raw_asgi", artifact) as url:
                yield System(name, url, _JSON)


@contextmanager
def _baseline(module: str, artifact: Path, *options: str) -> Iterator[str]:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", f"benchmarks.{module}", str(artifact), str(port), *options]
    with server(command, ready_url=f"{url}/openapi.json"):
        yield f"{url}/predict"


@contextmanager
def _uncoalesced_gateway(installation: Installation) -> Iterator[str]:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = installation.environment | {
        "PENSTOCK_GATEWAY_PORT": str(port),
        "PENSTOCK_GATEWAY_UPSTREAM": installation.envoy_address,
        "PENSTOCK_GATEWAY_REGISTRY_URL": installation.registry_url,
        "PENSTOCK_GATEWAY_REGISTRY_TOKEN_FILE": str(installation.registry_token_file("read")),
        "PENSTOCK_GATEWAY_KEYS_URL": str(installation.home / "keys.db"),
        "PENSTOCK_GATEWAY_COALESCE": "false",
    }
    with server([sys.executable, "-m", "penstock_gateway"], ready_url=f"{url}/readyz", environment=environment):
        yield url


def _with_key(installation: Installation) -> dict[str, str]:
    return {"API-Key": installation.unlimited_key(), **_JSON}


async def fetch_artifact(installation: Installation, name: str, folder: Path) -> Path:
    """Download the version of a model that the installation serves."""
    async with RegistryClient(installation.registry_url, installation.registry_token_file("read")) as registry:
        model = await registry.model(name)
        [target] = model.aliases[PRODUCTION]
        await registry.fetch(model.versions[target.version], folder)
    return folder
