"""Which service, and which room of a service, may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SERVICES = Path(__file__).resolve().parents[2] / "services"
NAMES = sorted(folder.name for folder in SERVICES.iterdir() if (folder / "pyproject.toml").exists())
FORBIDDEN = {
    "common": {"torch", "fastapi", "starlette", "uvicorn"},
    "gateway": {"torch", "onnxruntime", "kserve"},
    "inference": {"fastapi", "starlette", "uvicorn", "kserve"},
    "registry": {"torch", "grpc", "kserve"},
    "cli": {"torch", "fastapi", "uvicorn", "obstore"},
}

#: The rooms of a service, top to bottom: a module imports its own room and those below it. A room is a
#: sub-package or a module of the service's package.
ROOMS = {
    "gateway": [
        "__main__",
        "app",
        "settings",
        "routes",
        "protocols",
        "pages",
        "remotes",
        "batches",
        "files",
        "dataplane",
        "decoders",
        "signature",
        "edge",
        "limits",
        "auth",
        "stored_responses",
        "database",
    ],
    "inference": [
        "__main__",
        "runner_program",
        "check",
        "signature",
        "signature_program",
        "server",
        "servicer",
        "stream_call",
        "calls",
        "health",
        "tracing",
        "infer_response",
        "checking",
        "versions",
        "engine",
        "signatures",
        "runners",
        "architectures",
        "metrics",
        "settings",
    ],
}


def room_arrows(service: str) -> set[tuple[str, str]]:
    """Return the pairs of rooms of which the first imports the second."""
    package = f"penstock_{service}"
    arrows = set()
    root = SERVICES / service / package
    for path in root.rglob("*.py"):
        room = path.relative_to(root).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            arrows |= {(room, m.split(".")[1]) for m in modules if m.startswith(f"{package}.")}
    return arrows


def imports(service: str) -> set[str]:
    """Return the top-level names that a service's sources import, at module level or inside functions."""
    found: set[str] = set()
    for path in (SERVICES / service).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("service", NAMES)
def test_a_service_imports_common_and_itself_only(service: str) -> None:
    """No service imports another, and common imports none; only the command line also imports the gateway."""
    own = {name for name in imports(service) if name.startswith("penstock_")}
    assert own <= {"penstock_common", f"penstock_{service}"} | ({"penstock_gateway"} if service == "cli" else set())


def test_the_command_line_imports_auth_of_the_gateway_only() -> None:
    """The command line administers keys with the gateway's own code, and uses nothing else of it."""
    modules: set[str] = set()
    for path in (SERVICES / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    of_the_gateway = {module for module in modules if module.startswith("penstock_gateway")}
    assert of_the_gateway
    assert {".".join(module.split(".")[:2]) for module in of_the_gateway} == {"penstock_gateway.auth"}


@pytest.mark.parametrize("service", sorted(FORBIDDEN))
def test_a_service_imports_no_library_that_it_must_not_need(service: str) -> None:
    """The gateway needs no torch, the pods no web framework, the registry neither torch nor gRPC."""
    assert not imports(service) & FORBIDDEN[service]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("penstock_gateway.app", "torch"),
        ("penstock_inference.server", "fastapi"),
        # KServe's package, which `penstock kserve` uses, cannot be in one process with our contract.
        ("penstock_cli.__main__", "penstock_common.contract"),
    ],
)
def test_a_forbidden_library_is_not_imported_indirectly(module: str, absent: str) -> None:
    """The modules that a service imports do not import a forbidden library either."""
    code = f"import sys, {module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("service", sorted(ROOMS))
def test_a_room_imports_only_rooms_below_it(service: str) -> None:
    """Inside a service, imports also go one way only: from the composition root down."""
    order = ROOMS[service]
    rooms = {path.stem for path in (SERVICES / service / f"penstock_{service}").iterdir() if path.suffix in ("", ".py")}
    assert rooms - {"__init__", "__pycache__"} == set(order)
    assert not {(above, below) for above, below in room_arrows(service) if order.index(below) < order.index(above)}


@pytest.mark.parametrize("service", sorted(ROOMS))
def test_only_the_composition_root_reads_settings(service: str) -> None:
    """Every other room gets its settings as arguments."""
    roots = {above for above, below in room_arrows(service) if below == "settings"}
    assert roots <= {"__main__", "app", "check", "server"}
