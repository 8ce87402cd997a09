"""Media types: recognise JSON, and choose one of several."""

from __future__ import annotations

import re
from typing import Final

import attrs

from document import Node

JSON: Final = "application/json"

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = r'"[ !#-\[\]-~]*"'
_PARAMETER: Final = re.compile(rf"\s*;\s*({_WORD})=({_WORD}|{_QUOTED})\s*")
_NAME: Final = re.compile(rf"({_WORD}/{_WORD})((?:{_PARAMETER.pattern})*)")


@attrs.frozen
class Media:
    """A media type of JSON, such as `application/vnd.x+json; version=2`."""

    name: str
    """The media type in the contract, without its charset."""
    charset: str
    """The charset; empty if there is none."""
    node: Node

    @property
    def sent(self) -> str:
        """The media type that a request names, with the charset."""
        return f"{self.name}; charset={self.charset}" if self.charset else self.name

    @property
    def is_plain(self) -> bool:
        """Whether it is `application/json`, perhaps with parameters."""
        return self.name.partition(";")[0].strip().lower() == JSON


def json_media(owner: Node) -> Media | None:
    """Return the media type of a body or an answer that the client uses.

    `application/json` is used if it is offered, otherwise one such as
    `application/vnd.x+json`.

    Returns:
        `None` if none is JSON.

    Raises:
        RefusedError: It is not clear which one to use, or its charset is not UTF-8.
    """
    found = [media for name, node in owner.entries("content") if (media := _read(name, node))]
    found = [media for media in found if media.is_plain] or found
    if not found:
        return None
    # The sort is stable, so otherwise the contract's order decides.
    first, *others = sorted(found, key=lambda media: media.sent != JSON)
    for other in others:
        if first.sent != JSON and other.node.get("schema") != first.node.get("schema"):
            raise owner.refuse(
                f"it is not clear whether to use {first.name} or {other.name}, which differ",
                f"Keep one of them, or offer {JSON} as well.",
            )
    if first.charset.lower() not in ("", "utf-8"):
        raise first.node.refuse(
            f"the charset {first.charset} is not supported, because JSON is UTF-8",
            "Leave the charset out.",
        )
    return first


def _read(name: str, node: Node) -> Media | None:
    """Return a media type; `None` if it is not JSON, or a range such as `*/*`."""
    match = _NAME.fullmatch(name.strip())
    if match is None or "*" in match[1]:
        return None
    kind = match[1].lower()
    if kind != JSON and not kind.endswith("+json"):
        return None
    text, charset = match[1], ""
    for key, value in _PARAMETER.findall(match[2]):
        if key.lower() == "charset":
            charset = value.strip('"')
        else:
            text += f"; {key}={value}"
    return Media(text, charset, node.follow())
