"""Infinity, a server of text embeddings, in an environment of its own: it needs an older NumPy and transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import server
from benchmarks.virtual_environments import virtual_environment
from tests.installation import free_ports
from tests.transformers_server import OpenAIServer

_PACKAGES = (
    "infinity-emb[server,torch]==0.0.78",
    "torch==2.13.0",
    "numpy==1.26.4",
    "transformers==4.57.6",
    "sentence-transformers==3.4.1",
)
_NAME = "embeddings"
# It shall reach nothing: neither the hub for a folder that is here, nor its makers with what it was asked.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}


@contextmanager
def infinity(folder: Path) -> Iterator[OpenAIServer]:
    """Serve the model of sentence-transformers in a folder on the serving core, with batches of 32.

    Raises:
        UnavailableError: its packages cannot be installed.
    """
    program = virtual_environment("infinity", _PACKAGES) / "infinity_emb"
    (port,) = free_ports(1)
    # BetterTransformer needs optimum, which the package for PyTorch does not bring.
    options = f"--engine torch --device cpu --no-bettertransformer --batch-size 32 --host 127.0.0.1 --port {port}"
    model = ["--model-id", str(folder), "--served-model-name", _NAME]
    command = [str(program), "v2", *model, *options.split(), "--log-level", "error"]
    url = f"http://127.0.0.1:{port}"
    with server(command, ready_url=f"{url}/health", environment=_ENVIRONMENT) as pid:
        yield OpenAIServer(url, _NAME, pid)
