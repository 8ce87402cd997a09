"""Read an OpenAPI document from a path or URL, as JSON or YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import YAMLError

from document import Json, is_array, is_object, step
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


def _foreign(value: object, place: str = "#") -> Iterator[str]:
    """Yield the places of `$ref`s to other documents."""
    if is_array(value):
        for index, each in enumerate(value):
            yield from _foreign(each, place + step(index))
    elif is_object(value):
        ref = value.get("$ref")
        if isinstance(ref, str) and not ref.startswith("#"):
            yield f"{place}: $ref {ref} refers to another document. Bundle both into one."
        for key, each in value.items():
            if key not in _DATA and not key.startswith("x-"):
                yield from _foreign(each, place + step(key))


def invalid(document: Json) -> Iterator[str]:
    """Yield the reasons why the document is not valid OpenAPI."""
    # These imports take twice as long as all of `make check-drift`, which does not need them.
    from jsonschema_path import SchemaPath
    from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator

    version = str(document.get("openapi"))
    validators = {"3.0": OpenAPIV30SpecValidator, "3.1": OpenAPIV31SpecValidator}
    validator = validators.get(version[:3])
    if validator is None:
        yield f"it is not an OpenAPI 3.0 or 3.1 document: its `openapi` is {version}"
        return
    for error in validator(SchemaPath.from_dict(document)).iter_errors():
        place = "#" + "".join(map(step, error.absolute_path))
        text = error.message
        yield f"{place}: {text[:_LONGEST]}{'...' if len(text) > _LONGEST else ''}"


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
    causes = list(_foreign(document)) or list(invalid(document))
    if causes:
        raise SurfaceError(f"cannot adopt {spec}: {cause}" for cause in causes)
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
