"""``python -m penstock_inference.runner_program FRAMEWORK SERVER DESCRIPTOR``: a framework's parent.

The server starts it; see ``runners/parent.py``.
"""

from __future__ import annotations

import sys

from penstock_inference.runners.formats import Framework, import_framework
from penstock_inference.runners.parent import run_parent
from penstock_inference.versions.load_model import load_model


def main() -> None:
    framework, server, connection = sys.argv[1:]
    run_parent(int(server), int(connection), lambda: import_framework(Framework(framework)), load_model)


if __name__ == "__main__":
    main()
