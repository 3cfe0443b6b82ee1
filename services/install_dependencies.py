"""Install the libraries of projects, but not the projects, so that an image's layer of libraries outlives code changes.

Usage: install_dependencies.py [--without NAME]... CONSTRAINTS PROJECT_FOLDER...
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--without", action="append", default=[], help="a dependency that the image does not need")
parser.add_argument("constraints")
parser.add_argument("folders", nargs="+", type=Path)
arguments = parser.parse_args()

wanted = set()
for folder in arguments.folders:
    wanted |= set(tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"])
unknown = set(arguments.without) - wanted
if unknown:
    parser.error(f"--without {', '.join(sorted(unknown))}: no such dependency")
libraries = sorted(name for name in wanted - set(arguments.without) if not name.startswith("penstock-"))
subprocess.run([sys.executable, "-m", "pip", "install", "-c", arguments.constraints, *libraries], check=True)  # noqa: S603 (our own command)
