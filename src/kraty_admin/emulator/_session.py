"""Sessions: the requests that an emulator has answered, saved to a file and replayed.

A file has a JSON object on each line. The first describes the emulator. Each other line is a
request with its time, fault and answer. Ids depend on the seed and the order of requests, so the
same requests at the same times give the same answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs

from ._checks import bounded, of_type
from ._faults import Fault
from ._platform import SeenRequest
from ._structure import parse_json, structure
from ._world import World

__all__ = ["Difference", "Session", "SessionRequest"]

_VERSION: Final = 1


@attrs.frozen(kw_only=True)
class Difference:
    """A request that got another answer when it was replayed."""

    number: int
    """Its number in the session, from 1."""
    operation: str | None
    """Its operation, such as `wallet.credit`."""
    recorded: str
    """Status and body of the recorded answer."""
    replayed: str
    """Status and body of the new answer."""


@attrs.frozen(kw_only=True)
class _Header:
    """The first line of a file."""

    kraty_session: int = attrs.field(validator=bounded(_VERSION, _VERSION))
    """The version of the format."""
    seed: int


@attrs.frozen(kw_only=True)
class SessionRequest:
    """A request of a session."""

    at: datetime
    method: str
    path: str
    query: str
    key_id: str | None
    """The id of its API key in the world; empty for an unknown key, `None` for none."""
    requests_per_minute: int = attrs.field(validator=[of_type(int), bounded(1, 10**9)])
    """The rate limit at the time of its arrival."""
    body: str
    operation: str | None
    fault: Fault | None
    status: int | None
    answer: str

    def authorization(self, world: World) -> str:
        """Return its Authorization header, with the key of this world.

        Raises:
            ValueError: The world has no such key.
        """
        if self.key_id is None:
            return ""
        tokens = {key.id: key.token for key in world.keys}
        if self.key_id and self.key_id not in tokens:
            raise ValueError(f"the session needs a world with a key {self.key_id!r}")
        return f"Bearer {tokens.get(self.key_id, 'unknown')}"

    def raw_body(self) -> bytes:
        """Return its body as it was sent."""
        return self.body.encode(errors="surrogateescape")


@attrs.frozen(kw_only=True)
class Session:
    """The requests of an emulator since its state was empty."""

    seed: int
    requests: Sequence[SessionRequest]

    @staticmethod
    def of(seen: Sequence[SeenRequest], seed: int) -> Session:
        """Make a session from the requests that an emulator has seen.

        Raises:
            ValueError: The first requests are no longer kept.
        """
        if seen and seen[0].number != 1:
            raise ValueError(
                f"a session needs all requests, but only the last {len(seen)} are kept"
            )
        names = [field.name for field in attrs.fields(SessionRequest)]
        texts = ("body", "answer")
        requests = [
            SessionRequest(
                **{name: getattr(each, name) for name in names if name not in texts},
                **{name: getattr(each, name).decode(errors="surrogateescape") for name in texts},
            )
            for each in seen
        ]
        return Session(seed=seed, requests=requests)

    def save(self, path: str, world: World) -> None:
        """Write the session to a file. API keys that occur in a body or path are masked.

        Raises:
            OSError: The file cannot be written.
        """
        header = _Header(kraty_session=_VERSION, seed=self.seed)
        lines = [attrs.asdict(header), *(_plain(each) for each in self.requests)]
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        for key in world.keys:
            text = text.replace(key.token, f"{key.prefix}.***")
        Path(path).write_text(text, encoding="utf-8")

    @staticmethod
    def load(path: str) -> Session:
        """Read a session from a file.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is not a session. The message names the file and the line.
        """
        lines = Path(path).read_bytes().splitlines()
        try:
            header = structure(parse_json(lines[0] if lines else b""), _Header, "line 1")
            requests = [
                structure(parse_json(line), SessionRequest, f"line {number}")
                for number, line in enumerate(lines[1:], 2)
            ]
        except ValueError as error:
            raise ValueError(f"{path} is not a session: {error}") from None
        return Session(seed=header.seed, requests=requests)


def _plain(request: SessionRequest) -> Mapping[str, Any]:
    fault = None if request.fault is None else attrs.asdict(request.fault)
    return {
        **attrs.asdict(request, recurse=False),
        "at": request.at.isoformat(),
        "fault": fault,
    }
