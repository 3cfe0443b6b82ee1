"""Compiles and runs programs of C#, with what packages of Python and Node have of .NET."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.installation import ROOT
from tests.models.node_packages import install_node_packages
from tests.models.packages import package_folder


class CSharp:
    """A compiler and a runtime; the test is skipped if a package is missing.

    Args:
        folder: for the programs, which run in it.
    """

    def __init__(self, folder: Path) -> None:
        for module in ("pythonnet", "clr_loader"):
            package_folder(module)
        self._dotnet = package_folder("dotnetcore2") / "bin" / "dotnet"
        self._folder = folder
        self._environment = os.environ | {"LD_LIBRARY_PATH": _old_openssl(folder / "openssl")}
        self._roslyn = _roslyn(folder / "node")

    def run(self, programs: dict[str, str], key: str) -> dict[str, str]:
        """Compile programs by name, run each with KEY in its environment, and return what each printed."""
        sources = [self._folder / f"{name}.cs" for name in programs]
        for source, text in zip(sources, programs.values(), strict=True):
            source.write_text(text)
        compiler = [sys.executable, "-m", "tests.models.csharp_compiler", str(self._roslyn), *map(str, sources)]
        self._output(compiler, ROOT)
        self._environment["KEY"] = key
        return {
            source.stem: self._output([str(self._dotnet), str(source.with_suffix(".dll"))], self._folder)
            for source in sources
        }

    def _output(self, command: list[str], folder: Path) -> str:
        done = subprocess.run(
            command, cwd=folder, env=self._environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _roslyn(folder: Path) -> Path:
    """Return a folder with the compiler; a package for Node that generates C# brings it."""
    folder.mkdir()
    packages = {"dependencies": {"@autorest/csharp": "3.0.0-beta.20251203.1"}}
    (folder / "package.json").write_text(json.dumps(packages))
    install_node_packages(folder)
    return folder / "node_modules" / "@autorest" / "csharp"


def _old_openssl(folder: Path) -> str:
    """Return the path of OpenSSL 1.1, the newest that this .NET takes; a package of PostgreSQL's client brings it.

    Args:
        folder: is made, for the libraries under the names that they are looked for.
    """
    libraries = package_folder("psycopg2").with_name("psycopg2_binary.libs")
    folder.mkdir()
    for name in ("libssl", "libcrypto"):
        [library] = libraries.glob(f"{name}-*.so.1.1*")
        (folder / f"{name}.so.1.1").symlink_to(library)
    return f"{folder}:{libraries}"
