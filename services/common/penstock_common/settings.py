"""Settings from environment variables, with errors that name the variable."""

from __future__ import annotations

import sys
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

S = TypeVar("S", bound=BaseSettings)


def load_settings(cls: type[S]) -> S:
    """Read ``cls`` from the environment; exit with status 2 and one line per bad variable."""
    try:
        return cls()
    except ValidationError as err:
        prefix = cls.model_config.get("env_prefix", "")
        for problem in err.errors():
            variable = prefix + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{variable}: {problem['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
