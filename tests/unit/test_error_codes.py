"""docs/api.md lists every error that a client can see, and none that it cannot.

The errors are read from the sources: each ``PenstockError(status, code, ...)``, also in a function that takes
status or code from its callers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from penstock_common.errors import GRPC_TO_HTTP, HTTP_TO_GRPC

ROOT = Path(__file__).resolve().parents[2]
GATEWAY = ROOT / "services" / "gateway" / "penstock_gateway"
INFERENCE = ROOT / "services" / "inference" / "penstock_inference"
COMMON = ROOT / "services" / "common" / "penstock_common"

Error = tuple[int, str]  # status, code

#: Functions that give an error whose status or code is not in the sources, and what clients see of it.
NOT_IN_THE_SOURCES: dict[str, set[Error]] = {
    "_from_process": set(),  # what a decoder process said, which runs the gateway's own decoding
    "copy": set(),  # the same error for another caller
    "openai_reply": set(),  # the same error, with 400 for 422
    "no_such_route": {(404, "unknown-path")},  # the router's status, which is 404 or 405
    "translate": set(),  # what a pod said: the pods' errors
}
#: Errors of a pod that no request of the gateway can cause.
NOT_THROUGH_THE_GATEWAY: dict[Error, str] = {
    (422, "unknown-output"): "the gateway asks a pod for all outputs",
}


@dataclass
class Sources:
    """What the errors of some modules are.

    ``unknown`` holds the functions in which a status or a code is neither a constant nor a parameter that all
    callers give as a constant.
    """

    errors: set[Error] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def calls(tree: ast.AST, inside: Function | None = None) -> Iterator[tuple[ast.Call, Function | None]]:
    """Every call, with the innermost function around it."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Call):
            yield child, inside
        yield from calls(child, child if isinstance(child, Function) else inside)


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def argument(call: ast.Call, function: Function, name: str) -> ast.expr | None:
    """Return what ``call`` passes to ``function`` for a parameter, or the parameter's default."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    names = [a.arg for a in function.args.args]
    at = names.index(name)
    given = at - (names[0] == "self")
    if given < len(call.args):
        return call.args[given]
    default = at - len(names) + len(function.args.defaults)
    return function.args.defaults[default] if default >= 0 else None


def read(paths: Iterable[Path]) -> Sources:
    """Return the errors that the modules at these paths can raise."""
    found = Sources()
    every = [call for path in paths for call in calls(ast.parse(path.read_text()))]
    for call, function in every:
        if name_of(call) not in ("PenstockError", "PodRefusalError"):
            continue
        status_and_code = call.args[:2]
        parameters = {a.arg for a in function.args.args} if function else set()
        wanted = {a.id for a in status_and_code if isinstance(a, ast.Name)}
        if function is None or not wanted:
            add(found, status_and_code, function)
        elif wanted <= parameters:
            for caller, around in every:
                if name_of(caller) == function.name:
                    given = [
                        argument(caller, function, a.id) if isinstance(a, ast.Name) else a for a in status_and_code
                    ]
                    add(found, given, around)
        else:
            found.unknown.add(function.name)
    return found


def add(found: Sources, status_and_code: list[ast.expr] | list[ast.expr | None], function: Function | None) -> None:
    values = [a.value if isinstance(a, ast.Constant) else None for a in status_and_code]
    match values:
        case [int() as status, str() as code]:
            found.errors.add((status, code))
        case _:
            found.unknown.add(function.name if function else "")


def modules(*roots: Path) -> list[Path]:
    found = [path for root in roots for path in ([root] if root.suffix else sorted(root.rglob("*.py")))]
    assert found
    return found


def through_the_gateway(error: Error) -> Error:
    """Return what the gateway turns a pod's error into; see ``upstream_errors``."""
    status = GRPC_TO_HTTP.get(HTTP_TO_GRPC[error[0]], 500)
    return (status, error[1] if status != 500 else "upstream-error")


@pytest.fixture(scope="module")
def gateway() -> Sources:
    """The gateway's own errors, and those of what it calls in ``common`` with a client's bytes."""
    auth, database = GATEWAY / "auth", GATEWAY / "database"
    own = [path for path in modules(GATEWAY) if not {auth, database} & set(path.parents)]
    found = read([*own, *modules(COMMON / "errors.py", COMMON / "tensors.py")])
    # The rest of these rooms is for those who administer keys and start gateways.
    found.errors |= read([auth / "key_ring.py"]).errors
    return found


@pytest.fixture(scope="module")
def pods() -> Sources:
    """The errors of the pods and of the pre-processing that they run."""
    return read(modules(INFERENCE, COMMON / "preprocessing"))


def documented() -> list[tuple[int, str, str]]:
    """The rows of the table in docs/api.md: status, code, what to do."""
    rows = re.findall(r"^\| (\d{3}) \| `([a-z-]+)` \| (.+) \|$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    return [(int(status), code, advice) for status, code, advice in rows]


def test_every_error_of_the_sources_is_documented(gateway: Sources, pods: Sources) -> None:
    """A new code needs a row in the table, under the status that a client of the gateway sees."""
    seen = gateway.errors.union(*NOT_IN_THE_SOURCES.values())
    seen |= {through_the_gateway(error) for error in pods.errors - NOT_THROUGH_THE_GATEWAY.keys()}
    assert seen - {(status, code) for status, code, _ in documented()} == set()


def test_every_documented_error_is_in_the_sources(gateway: Sources, pods: Sources) -> None:
    """A code that no longer exists, or has another status, must not remain in the table."""
    seen = gateway.errors.union(*NOT_IN_THE_SOURCES.values())
    seen |= {through_the_gateway(error) for error in pods.errors}
    assert {(status, code) for status, code, _ in documented()} - seen == set()


def test_each_error_is_documented_once_and_in_order() -> None:
    """The table is sorted by status, so that a reader finds it."""
    rows = [(status, code) for status, code, _ in documented()]
    assert len(rows) > 30
    assert len(set(rows)) == len(rows)
    assert [status for status, _ in rows] == sorted(status for status, _ in rows)


def test_the_sources_say_all_statuses_and_codes(gateway: Sources, pods: Sources) -> None:
    """A computed status or code would be missing from the table: only the functions listed here compute one."""
    assert gateway.unknown == set(NOT_IN_THE_SOURCES)
    assert pods.unknown == set()
    assert pods.errors >= NOT_THROUGH_THE_GATEWAY.keys()


EXAMPLE = """
class Check:
    def json(self, value):
        raise invalid("x", "is odd")
    def binary(self, value):
        raise invalid("x", "is a GIF", 415, code="unsupported-image")
    def _bad(self, code):
        return PenstockError(500, code, "")
    def present(self):
        raise self._bad("model-output")
    def computed(self, err):
        raise PenstockError(err.status, "again", "")
def invalid(name, what, status=422, code="invalid-input"):
    return PenstockError(status, code, what)
def chosen(status):
    code = "a" if status else "b"
    return errors.PenstockError(400, code, "")
LATE = PenstockError(504, "deadline-exceeded", "")
"""


def test_errors_are_read_through_the_functions_that_make_them(tmp_path: Path) -> None:
    """Constants and parameters (by position, name or default) are resolved; what cannot be resolved is reported."""
    module = tmp_path / "example.py"
    module.write_text(EXAMPLE)
    found = read([module])
    assert found.errors == {
        (422, "invalid-input"),
        (415, "unsupported-image"),
        (500, "model-output"),
        (504, "deadline-exceeded"),
    }
    assert found.unknown == {"computed", "chosen"}
