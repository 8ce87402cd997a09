"""Print changes: as text, as Markdown, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import attrs

from .rules import Change

FIELDS = ("operation", "location", "kind", "message", "breaking")


@attrs.frozen
class Component:
    """A component that changed, and how many uses it has."""

    name: str
    changes: list[str]
    breaking: bool
    uses: int


def as_json(changes: list[Change]) -> str:
    """Return all changes, for scripts."""
    listed = [{name: getattr(change, name) for name in FIELDS} for change in changes]
    breaking = sum(change.breaking for change in changes)
    return json.dumps({"changes": listed, "breaking": breaking}, indent=2)


def grouped(changes: list[Change]) -> tuple[list[Change], list[Component]]:
    """Return the changes of operations, and those of components with several uses."""
    by_name: dict[str, list[Change]] = {}
    for change in changes:
        by_name.setdefault(change.schema, []).append(change)
    shared: list[Component] = []
    for name, found in sorted(by_name.items()):
        uses = {(each.operation, each.location.removesuffix(each.step)) for each in found}
        if name and len(uses) > 1:
            shared.append(Component(name, list(_texts(found)), _breaks(found), len(uses)))
    names = {each.name for each in shared}
    return [change for change in changes if change.schema not in names], shared


def _texts(changes: Iterable[Change]) -> Iterator[str]:
    seen: set[tuple[str, str]] = set()
    for each in changes:
        if (each.step, each.message) not in seen:
            seen.add((each.step, each.message))
            yield f"{each.step.lstrip('.')} {each.message}".strip()


def _breaks(changes: Iterable[Change]) -> bool:
    return any(change.breaking for change in changes)


def verdict(changes: list[Change]) -> str:
    """Return one sentence about all changes."""
    breaking = sum(change.breaking for change in changes)
    if not changes:
        return "Nothing changed."
    count = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
    if not breaking:
        return f"{count}, none breaks callers."
    return f"{count}, {breaking} of them {'breaks' if breaking == 1 else 'break'} callers."


def as_text(changes: list[Change]) -> str:
    """Return a text for people: the operations, one line for each shared schema, the verdict."""
    own, shared = grouped(changes)
    lines = [str(change) for change in own]
    for each in shared:
        mark = "BREAKS" if each.breaking else "ok    "
        lines.append(f"{mark}  schema {each.name}  {'; '.join(each.changes)}  ({each.uses} uses)")
    return "\n".join([*lines, verdict(changes)])


def as_markdown(changes: list[Change]) -> str:
    """Return the same as Markdown, for a changelog or a review."""
    own, shared = grouped(changes)
    lines = [verdict(changes)]
    for breaking, title in ((True, "Breaks callers"), (False, "Breaks no callers")):
        found = [
            f"- `{each.operation}` {each.location.strip()}: {each.message}"
            for each in own
            if each.breaking is breaking
        ]
        found += [
            f"- schema `{each.name}` ({each.uses} uses): {'; '.join(each.changes)}"
            for each in shared
            if each.breaking is breaking
        ]
        if found:
            lines += ["", f"### {title}", "", *found]
    return "\n".join(lines)
