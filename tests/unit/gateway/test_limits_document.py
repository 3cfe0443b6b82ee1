"""docs/limits.md says what the settings say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from penstock_gateway.edge.bounds import Bounds
from penstock_gateway.settings import GatewaySettings

DOCUMENT = Path(__file__).parents[3] / "docs" / "limits.md"


def test_every_bound_is_in_the_table_with_its_default() -> None:
    """A bound that is added or changed is documented."""
    table = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", DOCUMENT.read_text(), re.MULTILINE))
    fields = GatewaySettings.model_fields
    assert {field.name for field in dataclasses.fields(Bounds)} <= set(table)
    assert {name: str(fields[name].default) for name in table} == table


def test_the_last_resort_is_longer_than_a_request_may_take() -> None:
    """Settings that contradict each other are refused at the start."""
    with pytest.raises(ValidationError, match=r"PENSTOCK_GATEWAY_TIMEOUT_SECONDS \(60\)"):
        GatewaySettings(keys_url="x", timeout_seconds=60.0)
