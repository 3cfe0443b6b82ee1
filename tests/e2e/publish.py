"""Models that a test writes, published from the registry's pod, which has the token for it."""

from __future__ import annotations

import json

from tests.e2e.cluster import Namespace

_PUBLISH = """
import asyncio, json, os, pathlib, sys, tempfile
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import AliasTarget

async def main():
    name, files = json.load(sys.stdin)
    folder = pathlib.Path(tempfile.mkdtemp())
    for file, text in files.items():
        (folder / file).write_text(text)
    token = pathlib.Path(os.environ["PENSTOCK_REGISTRY_TOKENS_DIR"]) / "train"
    async with RegistryClient("http://127.0.0.1:8081", token) as registry:
        version = await registry.publish(name, folder, metrics={}, lineage={})
        await registry.set_alias(name, "production", [AliasTarget(version.version)])

asyncio.run(main())
"""


def publish(namespace: Namespace, name: str, files: dict[str, str]) -> None:
    """Register a model's first version and promote it.

    Args:
        files: the texts of the artifact's files by name.
    """
    program = ["exec", "-i", "deploy/penstock-registry", "--", "python", "-c", _PUBLISH]
    namespace.kubectl(*program, stdin=json.dumps([name, files]))
