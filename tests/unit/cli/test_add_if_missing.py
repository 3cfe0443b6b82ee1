"""``penstock add --if-missing``: registers nothing that is there, and waits for an installation that is starting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from penstock_cli import gateway, starting
from penstock_cli.commands import add
from penstock_cli.settings import LocalSettings
from penstock_common.errors import PenstockError
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import AliasTarget, Model

Ask = Callable[[RegistryClient], Awaitable[Any]]


class Installation:
    """A registry with the model ``ocr``, and a gateway; each refuses as many connections at first as it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, production: int = 0) -> None:
        self.model = Model("ocr", 1, {}, {"production": [AliasTarget(production)]} if production else {})
        self.registry_refuses = self.gateway_refuses = 0
        self.gateway_asked = 0
        self.in_effect = production
        self.status = 200
        monkeypatch.setattr(add, "ask_registry", self._ask)
        monkeypatch.setattr(starting, "ask_registry", self._ask)
        monkeypatch.setattr(gateway.httpx, "request", self._listing)
        monkeypatch.setattr(gateway, "_LOOK_SECONDS", 0.0)
        monkeypatch.setattr(starting, "_LOOK_SECONDS", 0.0)

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(add.app, ["ocr", "--if-missing", "--json", *arguments])

    def _ask(self, _: LocalSettings, role: str, call: Ask) -> Any:
        async def run() -> Any:
            async with RegistryClient("http://registry", transport=httpx.MockTransport(self._registry)) as client:
                return await call(client)

        return asyncio.run(run())

    def _registry(self, request: httpx.Request) -> httpx.Response:
        if self.registry_refuses:
            self.registry_refuses -= 1
            raise httpx.ConnectError("connection refused")
        return httpx.Response(200, content=msgspec.json.encode([self.model]))

    def _listing(self, method: str, url: str, **_: Any) -> httpx.Response:
        self.gateway_asked += 1
        if self.gateway_refuses:
            self.gateway_refuses -= 1
            raise httpx.ConnectError("connection refused")
        aliases = {"production": [{"version": str(self.in_effect), "weight": 100}]}
        listing = {"data": [{"id": "ocr", "aliases": aliases, "loading": []}]}
        return httpx.Response(self.status, json=listing, request=httpx.Request(method, url))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services whose models were made; none of them succeeds."""
    names: list[str] = []

    def make(name: str, *_: Path) -> None:
        names.append(name)
        raise PenstockError(503, "cannot-make", "That is enough.")

    monkeypatch.setattr(add.recipes, "make", make)
    return names


def test_a_model_that_is_there_is_not_made_again(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """Whichever version production points at; the program ends well once the gateway answers with it."""
    there = Installation(monkeypatch, production=3)
    done = there.run()
    assert (done.exit_code, made, json.loads(done.stdout)["production"][0]["version"]) == (0, [], 3), done.output
    there.in_effect = 2
    done = there.run("--timeout", "1")
    assert done.exit_code == 1
    assert "not in effect after 1 s" in done.output


def test_a_model_that_is_missing_is_made(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """A model without production counts as missing."""
    assert Installation(monkeypatch).run().exit_code == 1
    assert made == ["ocr"]


def test_an_installation_that_starts_later_is_waited_for(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """The registry and the gateway may refuse connections at first."""
    there = Installation(monkeypatch, production=3)
    there.registry_refuses, there.gateway_refuses = 3, 3
    assert there.run().exit_code == 0
    assert (there.registry_refuses, there.gateway_refuses, made) == (0, 0, [])


def test_what_does_not_change_by_waiting_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """A gateway that refuses the key is asked once."""
    there = Installation(monkeypatch, production=3)
    there.status = 401
    assert (there.run().exit_code, there.gateway_asked, made) == (1, 1, [])


def test_without_waiting_the_gateway_is_not_asked(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    """So no key is needed."""
    there = Installation(monkeypatch, production=3)
    assert (there.run("--no-wait").exit_code, there.gateway_asked) == (0, 0)
