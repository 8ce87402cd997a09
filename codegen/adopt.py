"""Read an OpenAPI document from a path or URL, as JSON or YAML.

python codegen/adopt.py PATH|URL    fail if it is not valid
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, Final, cast

import httpx
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError

from document import Json, Node, RefusedError, is_array, is_object, step
from views import SurfaceError

# Inside these, a `$ref` is data, not a reference.
_DATA: Final = frozenset({"example", "examples", "default", "enum", "const"})
_LONGEST: Final = 200


class _Constructor(SafeConstructor):
    """Reads dates as text, as JSON does."""


def _as_text(constructor: SafeConstructor, node: Any) -> str:
    return str(node.value)


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _as_text)  # pyright: ignore[reportUnknownMemberType]  # ruamel is untyped


def parse_yaml(text: bytes) -> Any:
    """Parse YAML 1.2.

    Raises:
        ValueError: The text is not YAML.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)  # pyright: ignore[reportUnknownMemberType]  # ruamel is untyped
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _parse(raw: bytes) -> object:
    """Parse JSON or YAML into values that JSON can hold."""
    try:
        document: object = json.loads(raw)
    except ValueError as error:
        if raw.lstrip()[:1] in (b"{", b"["):
            raise  # YAML's message about invalid JSON would mislead
        document = parse_yaml(raw)
        if not is_object(document):
            raise error from None
    # Keys such as 200 become text, and values that JSON lacks are rejected.
    return json.loads(json.dumps(document, allow_nan=False))


def _walk(value: object, place: str = "#") -> Iterator[tuple[object, str]]:
    """Yield each value with its place, but none inside an example, a default and the like."""
    yield value, place
    if is_array(value):
        for index, each in enumerate(value):
            yield from _walk(each, place + step(index))
    elif is_object(value):
        for key, each in value.items():
            if key not in _DATA and not key.startswith("x-"):
                yield from _walk(each, place + step(key))


def _broken(document: Json) -> Iterator[str]:
    """Yield the places of `$ref`s that cannot be followed."""
    for value, place in _walk(document):
        ref = value.get("$ref") if is_object(value) else None
        if isinstance(ref, str) and not ref.startswith("#"):
            yield f"{place}: $ref {ref} refers to another document. Bundle both into one."
        elif isinstance(ref, str):
            try:
                Node(document, value, place).follow()
            except RefusedError as error:
                # Otherwise the target is the schema `true` or `false`.
                if error.place == place:
                    yield str(error)


def _place(document: Json, wrong: object, end: Sequence[str | int]) -> str:
    """Return the place of a wrong value. Inside a schema, the validator knows only its end."""
    for value, place in _walk(document):
        try:
            found = reduce(getitem, end, cast("Any", value))
        except (LookupError, TypeError):
            continue
        if found is wrong:
            return place + "".join(map(step, end))
    return "#" + "".join(map(step, end))


def invalid(document: Json) -> list[str]:
    """Return the reasons why the document is not valid OpenAPI."""
    # These imports take twice as long as all of `make check-drift`, which does not need them.
    from jsonschema_path import SchemaPath
    from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

    version = str(document.get("openapi"))
    validators = {"3.0": OpenAPIV30SpecValidator, "3.1": OpenAPIV31SpecValidator}
    validator = validators.get(version[:3])
    if validator is None:
        return [f"it is not an OpenAPI 3.0 or 3.1 document: its `openapi` is {version}"]
    causes: list[str] = []
    try:
        for error in validator(SchemaPath.from_dict(document)).iter_errors():
            # A pattern of ECMAScript need not be one of Python; then no check is generated.
            if error.validator_value != "regex":
                text = error.message.partition("\n")[0]
                text = f"{text[:_LONGEST]}{'...' if len(text) > _LONGEST else ''}"
                place = _place(document, error.instance, list(error.absolute_path))
                causes.append(f"{place}: {text}")
    except LookupError:
        # The validator raises it if a part is missing that it has just reported.
        if not causes:
            raise
    return causes


def fetch(spec: str) -> bytes:
    """Read a contract from a path or URL, and return it in this project's format.

    Raises:
        SurfaceError: The contract cannot be read, or is not a valid OpenAPI document.
    """
    try:
        if spec.startswith(("http://", "https://")):
            raw = httpx.get(spec, follow_redirects=True).raise_for_status().content
        else:
            raw = Path(spec).read_bytes()
        document = _parse(raw)
    except RecursionError:
        raise SurfaceError([f"cannot adopt {spec}: it is nested too deeply"]) from None
    except (OSError, ValueError, TypeError, httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0]
        raise SurfaceError([f"cannot adopt {spec}: {reason}"]) from error
    if not is_object(document):
        raise SurfaceError([f"cannot adopt {spec}: it is not a JSON object"])
    try:
        causes = list(_broken(document)) or invalid(document)
    except RecursionError:
        causes = ["a schema contains itself in its allOf, so that it has no end"]
    if causes:
        raise SurfaceError(f"cannot adopt {spec}: {cause}" for cause in causes)
    return encoded(document)


def encoded(document: Json) -> bytes:
    """Return a contract in this project's format."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


if __name__ == "__main__":
    try:
        fetch(sys.argv[1])
    except SurfaceError as error:
        raise SystemExit(str(error)) from None
