"""Routes and validators, built from the OpenAPI contract.

All paths and all limits of requests come from the contract; this module adds none.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import attrs
import jsonschema_rs

from kraty_server_api.operations import NAMES

from ._errors import EmulatedError, Problem, invalid
from ._json import MAX_SAFE_INTEGER

__all__ = ["Contract", "Route", "load_contract"]

_METHODS: Final = ("get", "put", "post", "delete", "patch")

_INTEGER: Final = re.compile("-?[0-9]{1,640}")
"""Every Python reads this many digits, even with the lowest limit that can be set."""
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")

_PROBLEM_LIMIT: Final = 100
"""How many problems are reported: enough to fix a request, but not too many to read."""


class _Checker:
    """A schema of the contract, to check values against."""

    def __init__(self, schema: Mapping[str, Any], components: Mapping[str, Any]) -> None:
        # References point into the contract, so its components are added. `mask` keeps the
        # invalid value out of the message, because it may be huge, or personal data.
        self._validator = jsonschema_rs.Draft202012Validator(
            {"allOf": [schema], "components": components}, validate_formats=True, mask="value"
        )

    def fits(self, value: Any) -> bool:
        try:
            return bool(self._validator.is_valid(value))
        except ValueError:  # pragma: no cover: seen with the oldest dependencies only
            # Older versions of the validator give up on deep nesting.
            return False

    def problems(self, value: Any) -> list[Problem]:
        try:
            if self._validator.is_valid(value):
                return []
            found: list[Problem] = []
            for error in self._validator.iter_errors(value):
                steps = list(error.instance_path)
                message = error.message
                # "required" is reported at the object that lacks the property.
                missing: Any = getattr(error.kind, "property", None)
                if isinstance(missing, str):
                    steps.append(missing)
                    message = "value is missing"
                found.append({"path": _pointer(steps), "message": message})
                if len(found) == _PROBLEM_LIMIT:
                    break
        except ValueError as error:  # pragma: no cover: seen with the oldest dependencies only
            # Older versions of the validator give up on deep nesting.
            return [{"path": "", "message": str(error)}]
        return found


def _scalar(kind: str, text: str) -> Any:
    """Return a parameter's value; its text if that is not of the parameter's type."""
    if kind == "integer" and _INTEGER.fullmatch(text):
        # Older versions of the validator support only 64 bits.
        return max(-MAX_SAFE_INTEGER, min(int(text), MAX_SAFE_INTEGER))
    if kind == "number" and _NUMBER.fullmatch(text):
        return float(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def _pointer(steps: Sequence[str | int]) -> str:
    """Format a path such as `entries[0].amount`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


@attrs.define(kw_only=True, eq=False)
class Route:
    """An operation of the contract."""

    operation_id: str
    name: str
    """The SDK's name for it, such as `wallet.credit`."""
    method: str
    template: tuple[str, ...]
    """The path's segments; a parameter is in braces."""
    enveloped: bool
    """Whether the result is wrapped in `data`."""
    body_required: bool
    parameters: _Checker
    """Checks path and query together."""
    kinds: Mapping[str, str]
    """The types of the parameters, such as `integer`, or of their items if they are lists."""
    lists: Collection[str]
    """The parameters that are lists."""
    body: _Checker | None
    """Checks the body, without the rows of a batch."""
    rows: _Checker | None
    """Checks all rows of a batch together."""
    row: _Checker | None
    """Checks one row of a batch."""
    defaults: Mapping[str, Any]
    """The default values of members that a body leaves out."""

    @functools.cached_property
    def _literals(self) -> Sequence[tuple[int, str]]:
        return [(at, part) for at, part in enumerate(self.template) if not part.startswith("{")]

    @functools.cached_property
    def _names(self) -> Sequence[tuple[int, str]]:
        return [(at, part[1:-1]) for at, part in enumerate(self.template) if part.startswith("{")]

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """Return the path's parameters, or `None` if this is another operation's path.

        Args:
            segments: The path's segments, as many as the template has.
        """
        for at, part in self._literals:
            if segments[at] != part:
                return None
        found = {name: segments[at] for at, name in self._names}
        return found if all(found.values()) else None

    def read_query(self, query: str) -> dict[str, Any]:
        """Return the query's values, with the types of the contract. The last of a name counts."""
        found: dict[str, Any] = {}
        for name, text in parse_qsl(query, keep_blank_values=True) if query else ():
            value = _scalar(self.kinds.get(name, ""), text)
            if name in self.lists:
                found.setdefault(name, []).append(value)
            else:
                found[name] = value
        return found

    def problems(
        self, path: Mapping[str, str], query: Mapping[str, Any], body: Any
    ) -> list[Problem]:
        """Return the violations of the contract, except in the rows of a batch."""
        ids = {name: _scalar(self.kinds.get(name, ""), text) for name, text in path.items()}
        found = self.parameters.problems({**query, **ids})
        if self.body is not None:
            found += self.body.problems(body)
        return found

    def row_problems(self, rows: Sequence[Any]) -> dict[int, list[Problem]]:
        """Return the violations in the rows of a batch, by row."""
        if self.row is None or self.rows is None or self.rows.fits(rows):
            return {}
        found = ((index, self.row.problems(row)) for index, row in enumerate(rows))
        return {index: problems for index, problems in found if problems}


class Contract:
    """The contract, as a router and a validator."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document: Mapping[str, Any] = _by_discriminator(document)
        """The contract, with each tagged `oneOf` written as one case per tag."""
        base: str = self.document["servers"][0]["url"]
        self._prefix = f"{urlsplit(base).path}/".encode()
        self.routes: tuple[Route, ...] = tuple(
            self._route(path, method, item[method], item.get("parameters", []))
            for path, item in self.document["paths"].items()
            for method in _METHODS
            if method in item
        )
        """Every operation, in the contract's order."""
        self._by_length: dict[int, list[Route]] = {}
        for route in self.routes:
            self._by_length.setdefault(len(route.template), []).append(route)

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """Return the operation that a request asks for, and its path's parameters.

        Args:
            raw_path: The path as it was sent. It must not be decoded: a slash in a player's
                id would look like a separator.

        Raises:
            EmulatedError: There is no such path, or no operation with this method.
        """
        if not raw_path.startswith(self._prefix):
            raise EmulatedError("not_found", f"Every path is under {self._prefix.decode()}.")
        try:
            # Split before decoding, so that an escaped slash is not a separator.
            segments = [
                (unquote_to_bytes(part) if b"%" in part else part).decode()
                for part in raw_path[len(self._prefix) :].split(b"/")
            ]
        except UnicodeDecodeError:
            raise invalid([{"path": "", "message": "the path is not UTF-8"}]) from None
        matches = [
            (route, found)
            for route in self._by_length.get(len(segments), ())
            if (found := route.match(segments)) is not None
        ]
        if not matches:
            raise EmulatedError("not_found", "There is no such path.")
        for route, found in matches:
            if route.method == method:
                return route, found
        # The contract has no code for this, and clients know only the contract's codes.
        raise EmulatedError(
            "not_found",
            f"This path does not take {method}.",
            status=405,
            headers={"Allow": ", ".join(sorted({route.method for route, _ in matches}))},
        )

    def _route(
        self, path: str, method: str, operation: Mapping[str, Any], shared: Sequence[Any]
    ) -> Route:
        parameters = [self._resolve(each) for each in (*shared, *operation.get("parameters", []))]
        parameters = [each for each in parameters if each["in"] in ("path", "query")]
        # A parameter with `content` is text that is not read.
        schemas = {each["name"]: self._resolve(each.get("schema", {})) for each in parameters}
        request = self._resolve(operation.get("requestBody", {}))
        body, row = self._split_rows(_json_schema(request))
        if body is None and method in ("post", "put", "patch"):
            body = {"type": "object"}  # the client sends a key even if no body is described
        return Route(
            operation_id=operation["operationId"],
            # A test's contract may have operations that the SDK does not have.
            name=NAMES.get(operation["operationId"], operation["operationId"]),
            method=method.upper(),
            template=tuple(path.removeprefix("/").split("/")),
            enveloped=self._is_enveloped(operation),
            body_required=request.get("required", False),
            parameters=self._checker(
                {
                    "properties": {each["name"]: each.get("schema", {}) for each in parameters},
                    "required": [each["name"] for each in parameters if each.get("required")],
                }
            ),
            kinds={name: self._kind(schema) for name, schema in schemas.items()},
            lists=frozenset(
                name for name, schema in schemas.items() if schema.get("type") == "array"
            ),
            body=None if body is None else self._checker(body),
            rows=None if row is None else self._checker({"type": "array", "items": row}),
            row=None if row is None else self._checker(row),
            defaults=self._defaults(body),
        )

    def _kind(self, schema: Any) -> str:
        if schema.get("type") == "array":
            schema = self._resolve(schema["items"])
        kind = schema.get("type")
        return kind if isinstance(kind, str) else ""

    def _defaults(self, schema: Any) -> dict[str, Any]:
        properties = self._resolve(schema or {}).get("properties", {})
        return {
            name: member["default"] for name, member in properties.items() if "default" in member
        }

    def _split_rows(self, schema: Any) -> tuple[Any, Any]:
        """Return a batch's schema without its rows' schema, and the schema of a row.

        They are separate because an invalid row fails alone, without the batch.
        """
        body = self._resolve(schema or {})
        rows = body.get("properties", {}).get("rows", {})
        if "items" not in rows:
            return schema, None
        bare = {key: value for key, value in rows.items() if key != "items"}
        return {**body, "properties": {**body["properties"], "rows": bare}}, rows["items"]

    def _is_enveloped(self, operation: Mapping[str, Any]) -> bool:
        # As in the build step: with a field beside `data`, the answer is the result.
        results = [
            self._resolve(_json_schema(self._resolve(response)) or {})
            for status, response in operation["responses"].items()
            if status.startswith("2")
        ]
        return any(list(result.get("properties", ())) == ["data"] for result in results)

    def _checker(self, schema: Mapping[str, Any]) -> _Checker:
        return _Checker(schema, self.document["components"])

    def _resolve(self, node: Any) -> Any:
        while "$ref" in node:
            target: Any = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node


def _json_schema(holder: Mapping[str, Any]) -> Any:
    return holder.get("content", {}).get("application/json", {}).get("schema")


def _by_discriminator(node: Any) -> Any:
    """Write a tagged `oneOf` as one `if`/`then` per tag.

    The meaning is the same, but a problem is then reported at its place in the case that
    the tag names, not as "fits none of the cases".
    """
    if isinstance(node, list):
        return [_by_discriminator(each) for each in cast("Sequence[Any]", node)]
    if not isinstance(node, dict):
        return node
    plain: dict[str, Any] = {
        key: _by_discriminator(value) for key, value in cast("dict[str, Any]", node).items()
    }
    if "oneOf" not in plain or "mapping" not in plain.get("discriminator", {}):
        return plain
    del plain["oneOf"]
    tag, mapping = plain["discriminator"]["propertyName"], plain["discriminator"]["mapping"]
    return {
        **plain,
        "type": "object",
        "required": [tag],
        "properties": {tag: {"enum": list(mapping)}},
        "allOf": [
            {
                "if": {"required": [tag], "properties": {tag: {"const": value}}, "type": "object"},
                # A mapping may give the name of a schema instead of a reference.
                "then": {"$ref": f"#/components/schemas/{target.rpartition('/')[2]}"},
            }
            for value, target in mapping.items()
        ],
    }


@functools.cache
def load_contract() -> Contract:
    """Return the contract that this package was built from."""
    raw = (files("kraty_server_api") / "openapi.server.json").read_bytes()
    return Contract(json.loads(raw))
