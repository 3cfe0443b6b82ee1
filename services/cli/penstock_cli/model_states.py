"""What the gateway says of the models: which answer, and what the others wait for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock_cli.gateway import ask_gateway
from penstock_cli.settings import LocalSettings
from penstock_common.errors import PenstockError

_MB = 2**20


def listed_models(settings: LocalSettings) -> dict[str, dict[str, Any]] | None:
    """Return the models as the gateway lists them, by name; None if it cannot be asked."""
    try:
        listed = ask_gateway(settings, "GET", "/v1/models").json()["data"]
    except PenstockError:
        return None
    return {model["id"]: model for model in listed}


def model_state(listed: dict[str, dict[str, Any]] | None, name: str) -> str:
    """Return what a model does in the gateway: answers, or what it waits for, since when, and how large that is."""
    if listed is None:
        return "the gateway could not be asked"
    return "; ".join(_states(listed[name])) if name in listed else ""


def not_answering(listed: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Return a row for each model of which a version that it should answer with is not loaded."""
    waiting = [name for name, model in listed.items() if model["loading"] or not model["ready"]]
    return [{"model": name, "state": model_state(listed, name)} for name in waiting]


def _states(model: dict[str, Any]) -> Iterator[str]:
    if model["ready"]:
        yield "ready"
    elif model["owned_by"].startswith("remote:"):
        yield "does not answer"
    for load in model["loading"]:
        reason = f": {load['reason']}" if load["reason"] else ""
        size = f"{load['bytes'] / _MB:.1f} MB"
        yield f"version {load['version']} {load['state']} since {load['since']} ({size}){reason}"
