"""Install the libraries of projects, but not the projects, so that an image's layer of libraries outlives code changes.

Usage: install_dependencies.py [--without NAME]... [--extra NAME]... CONSTRAINTS PROJECT_FOLDER...
"""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--without", action="append", default=[], help="a dependency that the image does not need")
parser.add_argument("--extra", action="append", default=[], help="an optional dependency of a project")
parser.add_argument("constraints")
parser.add_argument("folders", nargs="+", type=Path)
arguments = parser.parse_args()

wanted = set()
extras: dict[str, list[str]] = {}
for folder in arguments.folders:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    wanted |= set(project["dependencies"])
    extras |= project.get("optional-dependencies", {})
missing = set(arguments.extra) - set(extras)
if missing:
    parser.error(f"--extra {', '.join(sorted(missing))}: no project has it")
wanted |= {name for extra in arguments.extra for name in extras[extra]}
unknown = set(arguments.without) - wanted
if unknown:
    parser.error(f"--without {', '.join(sorted(unknown))}: no such dependency")
libraries = sorted(name for name in wanted - set(arguments.without) if not name.startswith("penstock-"))
subprocess.run([sys.executable, "-m", "pip", "install", "-c", arguments.constraints, *libraries], check=True)  # noqa: S603 (our own command)
