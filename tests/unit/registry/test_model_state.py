"""What a model's log entries amount to."""

from __future__ import annotations

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.registry_models import AliasTarget, LogEntry, Version
from penstock_registry.model_state import ModelState, apply_entry, empty_state

MANIFEST = Manifest(
    Format.ONNX, "m.onnx", Task.REGRESSION, [Field("x", FieldKind.NUMBER, "FP32")], [Output("y", "FP32")]
)


def after(*aliases: int, versions: int = 8) -> ModelState:
    """The state in which ``production`` has pointed at each of ``aliases``."""
    state = empty_state("m")
    for number in range(1, versions + 1):
        state = entry(state, "registered", version=Version("m", number, MANIFEST, [], "now"))
    for number in aliases:
        state = entry(state, "alias-set", alias="production", targets=[AliasTarget(number)])
    return state


def entry(state: ModelState, kind: str, **members: object) -> ModelState:
    return apply_entry(state, LogEntry(state.revision + 1, kind, "now", **members))  # type: ignore[arg-type]


def earlier(state: ModelState) -> list[int]:
    return [target.version for targets in state.model.earlier.get("production", []) for target in targets]


def test_an_alias_remembers_what_it_pointed_at() -> None:
    """The newest first, each once, without what it points at now; at most four."""
    assert earlier(after(1)) == []
    assert earlier(after(1, 2, 2, 3)) == [2, 1]
    assert earlier(after(1, 2, 1)) == [2]
    assert earlier(after(1, 2, 3, 4, 5, 6)) == [5, 4, 3, 2]


def test_what_may_not_serve_is_not_remembered() -> None:
    """A version that is retired or quarantined is no earlier target any more, and a deleted alias has none."""
    state = after(1, 2, 3)
    assert earlier(entry(state, "retired", retired=2)) == [1]
    assert earlier(entry(state, "version-quarantined", quarantined=1)) == [2]
    gone = entry(state, "alias-deleted", alias="production")
    assert gone.model.earlier == {}
    again = entry(gone, "alias-set", alias="production", targets=[AliasTarget(4)])
    assert earlier(again) == []
