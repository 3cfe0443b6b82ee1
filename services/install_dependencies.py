"""Install what projects depend on, without the projects: so an image's layer of libraries outlives changes of code.

Usage: install_dependencies.py CONSTRAINTS PROJECT_FOLDER...
"""

import subprocess
import sys
import tomllib
from pathlib import Path

constraints, *folders = sys.argv[1:]
wanted = set()
for folder in folders:
    wanted |= set(tomllib.loads((Path(folder) / "pyproject.toml").read_text())["project"]["dependencies"])
libraries = sorted(name for name in wanted if not name.startswith("penstock-"))
subprocess.run([sys.executable, "-m", "pip", "install", "-c", constraints, *libraries], check=True)  # noqa: S603 (our own command)
