"""docs/limits.md says what the settings say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings

from penstock_gateway.edge.bounds import Bounds
from penstock_gateway.settings import GatewaySettings
from penstock_gateway.signature.request_bounds import RequestBounds
from penstock_inference.settings import InferenceSettings
from penstock_registry.settings import RegistrySettings

DOCUMENT = Path(__file__).parents[2] / "docs" / "limits.md"


def table(heading: str) -> dict[str, str]:
    """Name and default of each setting in a section; the gateway's come before the first heading."""
    sections = dict(re.findall(r"^#+ (.+)\n((?:(?!#).*\n)*)", DOCUMENT.read_text(), re.MULTILINE))
    return dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", sections[heading], re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "settings"),
    [("Limits", GatewaySettings), ("In a pod", InferenceSettings), ("In the registry", RegistrySettings)],
)
def test_the_table_has_the_defaults_of_the_settings(heading: str, settings: type[BaseSettings]) -> None:
    """A default that is changed is changed in the document too."""
    documented = table(heading)
    assert documented
    fields = settings.model_fields
    assert {name: float(value) for name, value in documented.items()} == {
        name: float(fields[name].default) for name in documented
    }


def test_every_bound_of_the_front_door_is_in_the_table() -> None:
    """A bound that is added is documented."""
    assert {field.name for field in dataclasses.fields(Bounds)} <= set(table("Limits"))


def test_every_bound_of_a_request_is_a_setting_in_the_table() -> None:
    """What the rows of a request may hold has the defaults of the settings."""
    bounds = msgspec.structs.asdict(RequestBounds())
    assert set(bounds) <= set(table("Limits"))
    assert bounds == {name: GatewaySettings.model_fields[name].default for name in bounds}


def test_the_last_resort_is_longer_than_a_request_may_take() -> None:
    """Settings that contradict each other are refused at the start."""
    with pytest.raises(ValidationError, match=r"PENSTOCK_GATEWAY_TIMEOUT_SECONDS \(60\)"):
        GatewaySettings(keys_url="x", timeout_seconds=60.0)
