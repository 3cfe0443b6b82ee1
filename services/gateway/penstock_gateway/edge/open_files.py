"""How many connections the system lets this process have."""

from __future__ import annotations

import resource

import structlog

logger = structlog.get_logger()

#: For what is not a client's connection: libraries, logs, the key store, gRPC.
_OTHER_FILES = 128


def connections_that_fit(wanted: int) -> int:
    """``wanted``, or fewer if the system's limit on open files (``ulimit -n``) allows fewer.

    The soft limit is raised to what the hard one allows. A process that runs out of files cannot
    even refuse a connection with an answer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft < needed and soft < hard:
        soft = min(hard, needed) if hard != resource.RLIM_INFINITY else needed
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= needed:
        return wanted
    fit = max(1, soft - _OTHER_FILES)
    logger.warning(
        "fewer connections than max_connections; raise the limit on open files (ulimit -n)",
        open_files=soft,
        max_connections=wanted,
        connections=fit,
    )
    return fit
