"""``python -m penstock_cli.envoy_parent COMMAND...``: run Envoy, and end when it ends.

Envoy asks the kernel to terminate it when its parent ends. Without this parent, that
would be as soon as ``penstock up`` returns.
"""

from __future__ import annotations

import signal
import subprocess
import sys


def main() -> int:
    child = subprocess.Popen(sys.argv[1:])  # noqa: S603 (the caller's own command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.terminate())
    return child.wait()


if __name__ == "__main__":
    sys.exit(main())
