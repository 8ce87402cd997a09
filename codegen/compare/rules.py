"""The policy: which callers each kind of change breaks."""

from __future__ import annotations

import enum

import attrs


class ContractError(Exception):
    """A contract or a command line that cannot be understood."""


class Caller(enum.Flag):
    """What callers do with a value. A rule names the callers that a change breaks."""

    NOBODY = 0
    SENDS = 1
    READS = 2
    ANYBODY = 3


NOBODY, SENDS, READS, ANYBODY = Caller.NOBODY, Caller.SENDS, Caller.READS, Caller.ANYBODY

RULES: dict[str, tuple[Caller, str]] = {
    # The contract as a whole.
    "server-added": (NOBODY, "added"),
    "server-removed": (ANYBODY, "removed"),
    "server-value-added": (NOBODY, "value {new} added"),
    "server-value-removed": (ANYBODY, "value {old} removed"),
    "security-scheme-added": (NOBODY, "added"),
    # If it was in use, each operation has a change `security-tightened`.
    "security-scheme-removed": (NOBODY, "removed"),
    "security-scheme-changed": (ANYBODY, "changed"),
    "scope-added": (NOBODY, "scope {new} added"),
    "scope-removed": (ANYBODY, "scope {old} removed"),
    # Operations.
    "operation-added": (NOBODY, "added ({call})"),
    "operation-removed": (ANYBODY, "removed ({call})"),
    # Neither an operationId nor the name of a placeholder is ever sent.
    "operation-renamed": (NOBODY, "renamed from {old} to {new}"),
    "placeholder-renamed": (NOBODY, "placeholder renamed from {old} to {new}"),
    "method-changed": (ANYBODY, "method changed from {old} to {new}"),
    "path-changed": (ANYBODY, "path changed from {old} to {new}"),
    "security-tightened": (ANYBODY, "security changed from {old} to {new}"),
    "security-loosened": (NOBODY, "security changed from {old} to {new}"),
    "status-added": (NOBODY, "added"),
    # A caller reads it as the success that it knows. An empty one is even an error to the SDK.
    "success-status-added": (READS, "added, with another body than the other successes"),
    # The build step then takes the answer for the result.
    "envelope-extended": (READS, "no longer holds only `data`, which methods return"),
    "success-status-removed": (ANYBODY, "removed"),
    "error-status-removed": (NOBODY, "removed"),
    "media-type-added": (NOBODY, "media type added"),
    "media-type-removed": (ANYBODY, "media type removed"),
    # Breaks no one, like the removal of a whole error response.
    "error-media-type-removed": (NOBODY, "media type removed"),
    # Parameters, headers, bodies and fields.
    "added": (NOBODY, "added"),
    "added-required": (SENDS, "added and required"),
    "removed": (ANYBODY, "removed"),
    "became-required": (SENDS, "became required"),
    "became-optional": (READS, "became optional"),
    "deprecated": (NOBODY, "deprecated"),
    "undeprecated": (NOBODY, "no longer deprecated"),
    "serialisation-changed": (ANYBODY, "written as {new} instead of {old}"),
    "serialisation-tightened": (SENDS, "{keyword} no longer allowed"),
    "serialisation-loosened": (NOBODY, "{keyword} allowed"),
    # Values.
    "type-narrowed": (SENDS, "type narrowed from {old} to {new}"),
    "type-widened": (READS, "type widened from {old} to {new}"),
    "type-changed": (ANYBODY, "type changed from {old} to {new}"),
    "null-added": (READS, "became nullable"),
    "null-removed": (SENDS, "no longer nullable"),
    "enum-added": (SENDS, "limited to {new}"),
    "enum-removed": (NOBODY, "no longer limited to {old}"),
    "enum-value-added": (NOBODY, "enum value {new} added"),
    "enum-value-removed": (SENDS, "enum value {old} removed"),
    # Perhaps renamed. Then a reader that looks for the old name no longer finds it.
    "enum-value-replaced": (ANYBODY, "enum value {old} removed, and {new} added"),
    "const-changed": (ANYBODY, "only value changed from {old} to {new}"),
    "bound-tightened": (SENDS, "{keyword} {how}"),
    "bound-loosened": (NOBODY, "{keyword} {how}"),
    "branch-added": (NOBODY, "alternative added"),
    # A reader of one shape, unlike a reader of a union, has no fallback.
    "became-union": (READS, "alternative added to what was a single shape"),
    "branch-removed": (SENDS, "alternative removed"),
    # A value of two alternatives of a oneOf is rejected.
    "became-exclusive": (SENDS, "values of several alternatives are no longer accepted"),
    "no-longer-exclusive": (NOBODY, "values of several alternatives are accepted"),
    "discriminator-renamed": (ANYBODY, "discriminator renamed from {old} to {new}"),
    "extra-fields-forbidden": (SENDS, "fields other than the listed ones forbidden"),
    "extra-fields-allowed": (NOBODY, "fields other than the listed ones allowed"),
    # It changes the meaning of an omitted argument, but no caller fails.
    "default-changed": (NOBODY, "default changed from {old} to {new}"),
    "keyword-removed": (NOBODY, "{keyword} removed"),
    # Too rare to be analysed; better a false alarm than a missed break.
    "keyword-changed": (ANYBODY, "{keyword} changed, which has to be judged by hand"),
    # These replace the changes of schemas if too many operations use too many schemas.
    "changed-elsewhere": (NOBODY, "uses schemas that changed; other operations list how"),
    "breaks-elsewhere": (ANYBODY, "uses schemas that break it; other operations list how"),
}


@attrs.frozen(order=True)
class Change:
    """One difference between two contracts. Changes sort in the order in which they are listed."""

    operation: str
    """The operationId, `webhook <name>`, or `(contract)`."""
    location: str
    """The place inside the operation, such as `response 200.data.wallet[].balance`."""
    kind: str
    """A key of `RULES`, stable for scripts."""
    message: str
    breaking: bool
    schema: str = attrs.field(default="", eq=False, order=False)
    """The component that changed; empty if it is not in one."""
    step: str = attrs.field(default="", eq=False, order=False)
    """The place inside the component."""

    def __str__(self) -> str:
        verdict = "BREAKS" if self.breaking else "ok    "
        return f"{verdict}  {self.operation}  {self.location}  {self.message}"


@attrs.frozen
class Place:
    """Where a change is found, and what callers do with the value there."""

    operation: str
    caller: Caller
    location: str

    def down(self, step: str) -> Place:
        """Return a place inside this one."""
        return Place(self.operation, self.caller, self.location + step)

    def change(self, kind: str, **values: object) -> Change:
        """Return a change of this kind, judged by its rule."""
        breaks, message = RULES[kind]
        text = message.format(**values)
        return Change(self.operation, self.location, kind, text, bool(breaks & self.caller))
