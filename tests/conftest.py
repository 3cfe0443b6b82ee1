"""How ``make test`` spreads the tests over processes."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: Of the integration tests, those that need no installation.
_WITHOUT_INSTALLATION = {"test_front.py", "test_s3.py", "test_training.py"}


class ByWhatIsShared(LoadScopeScheduling):
    """One process for the tests of a module, which share its fixtures; one for all that share the installation."""

    def _split_scope(self, nodeid: str) -> str:
        module = PurePosixPath(nodeid.partition("::")[0])
        if module.parent.name == "integration" and module.name not in _WITHOUT_INSTALLATION:
            return "installation"
        return str(module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Of ``-n`` processes; ``--dist`` has no schedule with such groups."""
    return ByWhatIsShared(config, log)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that are not text are named by their place: compressed ones hold the time, and processes must agree."""
    if isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable()):
        return argname
    return None
