"""``penstock registry``: what it asks of the registry, and how it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from penstock_cli.commands import registry
from penstock_cli.settings import LocalSettings
from penstock_common.registry_client import RegistryClient

MODEL = {"name": "m", "revision": 3, "versions": {}, "aliases": {}}
LOST = {"model": "m", "what": "entry 3", "problem": "it is missing", "remedy": "repair it"}


class Registry:
    """Records the calls, and answers each of them in the same way."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.calls: list[tuple[str, str]] = []
        self.roles: list[str] = []

    def ask(self, _settings: LocalSettings, role: str, call: Callable[[RegistryClient], Awaitable[Any]]) -> Any:
        self.roles.append(role)

        async def run() -> Any:
            async with RegistryClient("http://registry", transport=httpx.MockTransport(self._respond)) as client:
                return await call(client)

        return asyncio.run(run())

    def _respond(self, request: httpx.Request) -> httpx.Response:
        self.calls.append((request.method, request.url.raw_path.decode()))
        return httpx.Response(200, json=self._answer)


def run(monkeypatch: pytest.MonkeyPatch, answer: Any, *arguments: str) -> tuple[Registry, Any]:
    asked = Registry(answer)
    monkeypatch.setattr(registry, "ask_registry", asked.ask)
    return asked, CliRunner().invoke(registry.app, arguments)


def report(*problems: dict[str, str]) -> dict[str, Any]:
    return {"store": "s", "models": 1, "entries": 3, "blobs": 2, "problems": list(problems)}


def test_fsck_ends_with_status_0_if_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it has looked at."""
    asked, result = run(monkeypatch, report(), "fsck")
    assert (result.exit_code, asked.calls) == (0, [("GET", "/v1/fsck?deep=false")])
    assert "3 log entries" in result.output


def test_fsck_ends_with_status_1_if_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script sees it without reading; with --json it gets the whole report."""
    asked, result = run(monkeypatch, report(LOST), "fsck", "--deep", "--json")
    assert (result.exit_code, asked.calls) == (1, [("GET", "/v1/fsck?deep=true")])
    assert json.loads(result.stdout)["problems"] == [LOST]


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        (["repair", "m"], ("POST", "/v1/models/m/repair")),
        (["quarantine", "m", "3"], ("POST", "/v1/models/m/versions/3/quarantine")),
    ],
)
def test_each_command_is_one_call(monkeypatch: pytest.MonkeyPatch, arguments: list[str], call: tuple[str, str]) -> None:
    """Of the administrator's calls, with the administrator's token."""
    asked, result = run(monkeypatch, MODEL, *arguments)
    assert (result.exit_code, asked.calls, asked.roles) == (0, [call], ["admin"]), result.output
