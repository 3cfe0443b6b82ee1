"""How many workers Envoy sends requests to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from penstock_cli.plan import workers_in_rotation
from penstock_cli.settings import LocalSettings


def test_an_envoy_that_does_not_answer_has_none() -> None:
    """``penstock up`` asks again, instead of ending with a traceback."""
    with tempfile.TemporaryDirectory() as home:  # the path of a socket is bounded
        assert workers_in_rotation(LocalSettings(home=Path(home))) == 0
