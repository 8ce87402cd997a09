"""The reasons why the code cannot be generated, collected so that one run reports all of them."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager

import attrs

from document import RefusedError


class SurfaceError(Exception):
    """The code cannot be generated; one line per cause."""

    def __init__(self, causes: Iterable[str]) -> None:
        self.causes = list(causes)
        super().__init__("\n".join(self.causes))


@attrs.frozen
class Owner:
    """What a cause belongs to: an operation, or a schema that operations share."""

    name: str
    is_schema: bool = False


NOBODY = Owner("")


@attrs.define
class Causes:
    """Collects causes. Each names its operation, its place, the problem and what to change."""

    owner: Owner = NOBODY
    _found: dict[RefusedError, list[Owner]] = attrs.field(factory=dict[RefusedError, list[Owner]])

    @contextmanager
    def of(self, owner: Owner) -> Generator[None, None, None]:
        """Attribute the causes of this block to an operation or a schema."""
        before, self.owner = self.owner, owner
        try:
            yield
        finally:
            self.owner = before

    @contextmanager
    def collected(self) -> Generator[None, None, None]:
        """Collect the refusal that ends this block, and continue after it."""
        try:
            yield
        except RefusedError as refusal:
            self.add(refusal)

    def add(self, refusal: RefusedError) -> None:
        """Collect a refusal, once for each owner."""
        for known, owners in self._found.items():
            if (known.place, known.problem) == (refusal.place, refusal.problem):
                if self.owner not in owners:
                    owners.append(self.owner)
                return
        self._found[refusal] = [self.owner]

    def has(self, owner: Owner) -> bool:
        """Return whether any part of an operation or a schema was refused."""
        return any(owner in owners for owners in self._found.values())

    def lines(self, users: Mapping[str, list[str]]) -> list[str]:
        """Return the causes as text.

        Args:
            users: The operations that use each schema.
        """
        found: list[str] = []
        for refusal, owners in self._found.items():
            names: list[str] = []
            for owner in owners:
                names += users.get(owner.name, []) if owner.is_schema else [owner.name]
            names = [name for name in dict.fromkeys(names) if name]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            who = f"{names[0]}{more}, " if names else ""
            found.append(f"{who}{refusal.place}: {refusal.problem}. {refusal.fix}")
        return found
