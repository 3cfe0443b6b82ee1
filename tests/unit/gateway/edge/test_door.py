"""What the door knows of addresses and open files."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from penstock_gateway.edge import door as door_module
from penstock_gateway.edge.door import REFUSED, Door, address_of
from tests.unit.gateway.edge.front_door import bounds


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_an_address_stands_for_a_site(one: str, other: str, same: bool) -> None:
    """An IPv6 site has 2**64 addresses, which count as one; an IPv4 address is the same however it is written."""
    assert (address_of((one, 1)) == address_of((other, 2))) is same


def test_a_process_without_files_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop closes connections that it has no file for and says nothing, so the door looks."""

    def dup(_: int) -> int:
        raise OSError(24, "Too many open files")

    before = REFUSED.labels("open_files")._value.get()
    door = Door(bounds(), ())
    door.look(0.0)
    monkeypatch.setattr(door_module.os, "dup", dup)
    door.look(1.0)
    assert REFUSED.labels("open_files")._value.get() == before + 1


@pytest.mark.parametrize(
    ("soft", "hard", "fit"), [(1000, 1000, 872), (256, 1000, 872), (1000, 4000, 2000), (64, 64, 1)]
)
def test_no_more_connections_than_files(soft: int, hard: int, fit: int) -> None:
    """The soft limit is raised as far as needed; if the hard one is too low there are fewer connections."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most < hard:
        pytest.skip(f"needs {hard} open files")
    script = (
        "import resource;"
        "from penstock_gateway.edge.open_files import connections_that_fit as fit;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "print(fit(2000))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True)
    assert int(done.stdout.split()[-1]) == fit
