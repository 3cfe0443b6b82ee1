"""The program ``penstock``: its version, and the packages that it imports at start."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from penstock_cli.__main__ import app
from penstock_common.version import VERSION


def test_version() -> None:
    """``--version`` prints the version and nothing else."""
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"{VERSION}\n")


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The modules of the program once it has started."""
    code = "import sys, penstock_cli.__main__; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(
    "package",
    ["kubernetes", "kserve", "psutil", "sqlalchemy", "alembic", "psycopg", "fastapi", "uvicorn", "torch", "obstore"],
)
def test_it_starts_without_what_only_some_commands_need(imported: set[str], package: str) -> None:
    """A gateway's pod lacks the packages for clusters and processes, and no command pays for the imports of another."""
    assert "penstock_cli.__main__" in imported
    assert package not in imported


def test_keys_are_administered_without_the_gateway(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Creating a key does not import a web framework, torch, or the packages for clusters and processes."""
    store = tmp_path_factory.mktemp("store") / "keys.db"
    code = (
        "import sys; from typer.testing import CliRunner; from penstock_cli.__main__ import app; "
        f"done = CliRunner().invoke(app, ['keys', 'create', '--name', 'x', '--store', {str(store)!r}]); "
        "print(done.exit_code, sorted({'fastapi', 'starlette', 'uvicorn', 'torch', 'psutil', 'kubernetes'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0 []\n"
