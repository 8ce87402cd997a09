"""List the public surface of the installed package, one line for each name.

`public.txt` records the list, and `make surface` rewrites it. The list holds names, signatures
and types. It holds no docstrings and no help texts. Types appear as the source writes them: an
alias that no public module exports, such as `Hook`, appears by its name only.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Generic,
    Literal,
    cast,
    get_args,
    get_origin,
    is_typeddict,
)

import attrs
import click

import kraty_admin
import pytest_kraty_admin
from kraty_admin import KratyAdmin, KratyAdminAsync
from kraty_admin.cli._app import app

__all__ = ["FOR_DJANGO", "RECORD", "public_surface"]

RECORD: Final = Path(__file__).with_name("public.txt")
"""The file with the recorded surface."""

Line = tuple[str, str]
"""A name and its description."""

_OURS: Final = ("kraty_admin", "kraty_server_api")

FOR_DJANGO: Final = tuple(
    f"kraty_admin.contrib.django.{name}"
    for name in ("admin", "apps", "management", "migrations", "models")
)
"""Modules that Django finds by their names, and imports in a project only."""

_SIMPLE: Final = (bool, int, float, str, bytes, type(None))


def public_surface() -> str:
    """Return the surface, sorted by name. Each line is `<name>: <description>`."""
    lines = [*_names(), *_resources(), *_fixtures(), *_commands(app, "kraty-admin"), *_package()]
    return "".join(f"{name}: {what}\n" for name, what in sorted(lines))


# --- Names.


def _modules() -> list[str]:
    """Return the public modules of `kraty_admin`, the package itself first."""
    infos = pkgutil.walk_packages(kraty_admin.__path__, "kraty_admin.")
    names = (info.name for info in infos if "._" not in info.name)
    return ["kraty_admin", *(name for name in names if not name.startswith(FOR_DJANGO))]


def _names() -> Iterator[Line]:
    """List what the public modules export."""
    exports: dict[str, object] = {}
    for name in _modules():
        module = importlib.import_module(name)
        exports |= {f"{name}.{each}": getattr(module, each) for each in module.__all__}

    homes: dict[object, str] = {}
    for path, value in exports.items():
        if _is_defined(value):
            homes.setdefault(value, path)
    for path, value in exports.items():
        if _is_defined(value) and homes[value] != path:
            yield path, f"the same as {homes[value]}"
        elif isinstance(value, type) and _is_defined(value):
            if is_typeddict(value):
                yield from _typed_dict(path, value)
            else:
                yield from _class(path, value, homes)
        elif value is kraty_admin.__version__:
            yield path, "str"  # its value changes with each release
        else:
            yield path, _value(value)


def _is_defined(value: object) -> bool:
    """Return whether a value is a function or a class; on 3.10, aliases are instances of type."""
    return isinstance(value, FunctionType | type) and get_origin(value) is None


def _value(value: object) -> str:
    """Describe a function, an alias of a type or a constant."""
    if isinstance(value, FunctionType):
        return _function(value)
    if get_origin(value) is Literal:
        return f"Literal[{', '.join(map(repr, get_args(value)))}]"
    if get_origin(value) is Annotated:
        return f"Annotated[{get_args(value)[0].__name__}, ...]"  # the rest may hold addresses
    if get_origin(value) is not None:
        return repr(value)
    return f"{type(value).__name__} = {_default(value)}"


def _typed_dict(path: str, cls: type[Any]) -> Iterator[Line]:
    yield path, "TypedDict"
    for key, annotation in cls.__annotations__.items():
        need = "required" if key in cls.__required_keys__ else "optional"
        yield f"{path}[{key!r}]", f"{need} {_type(annotation)}"


def _class(path: str, cls: type[Any], public: Mapping[object, str]) -> Iterator[Line]:
    """List a class, its constructor and its members.

    Members of private bases count as its own, so that code can move between them. Members of
    public bases are listed there.
    """
    bases, private = _bases(cls, public)
    parents = ", ".join(base.__name__ for base in bases)
    yield path, f"{_kind(cls)} ({parents})" if parents else _kind(cls)
    own = [each for each in cls.__mro__ if each is cls or each in private]
    if any("__init__" in vars(each) for each in own) or "_fields" in vars(cls):
        yield f"{path}.__init__", f"def {_signature(inspect.signature(cls))}"
    members: dict[str, str] = {}
    for each in own:
        members = dict(_members(each)) | members
    for name, what in members.items():
        if not name.startswith("_"):
            yield f"{path}.{name}", what


def _kind(cls: type[Any]) -> str:
    if attrs.has(cls):
        return "attrs class"
    return "dataclass" if dataclasses.is_dataclass(cls) else "class"


def _bases(cls: type[Any], public: Mapping[object, str]) -> tuple[list[type[Any]], list[type[Any]]]:
    """Return the nearest public bases of a class, and the private bases below them."""
    seen: list[type[Any]] = []
    private: list[type[Any]] = []
    for base in cls.__bases__:
        if base in public or not base.__module__.startswith(_OURS):
            seen += [base] if base not in (object, Generic) else []
        else:
            further = _bases(base, public)
            seen += further[0]
            private += [base, *further[1]]
    return seen, private


def _members(cls: type[Any]) -> Iterator[Line]:
    """List what the body of a class defines, and the attributes that its constructor sets."""
    annotations = inspect.get_annotations(cls)
    for name, annotation in annotations.items():
        yield name, f"attribute {_type(annotation)}"
    for name, value in vars(cls).items():
        if name in annotations or name.startswith("_"):
            continue
        if isinstance(value, staticmethod):
            yield name, f"static {_function(getattr(cls, name))}"
        elif isinstance(value, classmethod):
            yield name, f"class {_function(getattr(cls, name))}"
        elif isinstance(value, FunctionType):
            yield name, _function(value, is_method=True)
        elif isinstance(value, property):
            settable = "" if value.fset is None else ", settable"
            yield name, f"property {_result(value.fget)}{settable}"
        elif isinstance(value, cached_property):
            yield name, f"property {_result(value.func)}"
        else:
            yield name, f"attribute {_value(value)}"
    # attrs and dataclasses generate their constructors from the fields above.
    if _kind(cls) == "class" and isinstance(vars(cls).get("__init__"), FunctionType):
        yield from _set_by(cls.__init__)


def _set_by(init: Callable[..., object]) -> Iterator[Line]:
    """List the attributes that a constructor sets, which only its source names."""
    arguments = inspect.signature(init).parameters
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(init)))):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if not isinstance(target, ast.Attribute) or ast.unparse(target.value) != "self":
            continue
        if isinstance(node, ast.AnnAssign):
            yield target.attr, f"attribute {_type(ast.unparse(node.annotation))}"
        elif isinstance(node.value, ast.Name) and node.value.id in arguments:
            yield target.attr, f"attribute {_type(arguments[node.value.id].annotation)}"
        else:
            yield target.attr, "attribute"


# --- Signatures.


@dataclasses.dataclass(frozen=True)
class _Text:
    """A text whose `repr` has no quotes, for `str(signature)`."""

    text: str

    def __repr__(self) -> str:
        return self.text


def _function(function: Callable[..., object], *, is_method: bool = False) -> str:
    """Describe a function. The description of a method leaves `self` out."""
    written = inspect.unwrap(function)
    signature = inspect.signature(written)
    if is_method:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    word = "async def" if inspect.iscoroutinefunction(written) else "def"
    if written is not function and inspect.isgeneratorfunction(written):
        word = "context manager"
    return f"{word} {_signature(signature)} -> {_type(signature.return_annotation)}"


def _signature(signature: inspect.Signature) -> str:
    """Return the arguments of a signature as text that is the same under each Python."""
    arguments = [
        each.replace(
            annotation=_Text(_type(each.annotation)),
            default=each.default if each.default is each.empty else _Text(_default(each.default)),
        )
        for each in signature.parameters.values()
    ]
    return str(inspect.Signature(arguments))


def _result(function: Callable[..., object] | None) -> str:
    assert function is not None
    return _type(inspect.signature(function).return_annotation)


def _type(annotation: object) -> str:
    """Return an annotation as it is written, without the names of private modules."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        raise TypeError(
            f"annotation {annotation!r} must be a str: its module needs"
            " `from __future__ import annotations`"
        )
    return re.sub(r"\b_\w+\.", "", annotation)


def _default(value: object) -> str:
    """Return a simple value as text, and dots for any other, whose text may vary."""
    text = repr(value)
    parts = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    return text if all(isinstance(part, _SIMPLE) for part in parts) else "..."


# --- Resources and fixtures.


def _resources() -> Iterator[Line]:
    """List the methods of the clients' resources, such as `KratyAdmin.wallet.credit`."""
    for client in (KratyAdmin, KratyAdminAsync):
        for name in dir(client):
            resource: object = getattr(client, name)
            if not type(resource).__module__.startswith("kraty_server_api.resources."):
                continue
            path = f"kraty_admin.{client.__name__}.{name}"
            # Clients make their resources, so the classes and constructors are not public.
            for line in _class(path, type(resource), {}):
                if line[0] not in (path, f"{path}.__init__"):
                    yield line


def _fixtures() -> Iterator[Line]:
    """List the fixtures of the pytest plugin. Their arguments are private."""
    for name in pytest_kraty_admin.__all__:
        fixture = inspect.unwrap(getattr(pytest_kraty_admin, name))
        yield f"pytest_kraty_admin.{name}", f"fixture {_result(fixture)}"


# --- The command line.


def _commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[Line]:
    """List a command, its arguments and options, and its subcommands."""
    context = click.Context(command, parent, name, **command.context_settings)
    path = f"{parent.info_name} {name}" if parent else name
    context.info_name = path
    yield path, "group" if isinstance(command, click.Group) else "command"
    position = 0
    # `get_params` adds --help, which all commands have: listed for the root only.
    for each in command.params if parent else command.get_params(context):
        if isinstance(each, click.Argument):
            position += 1
            yield f"{path} {each.human_readable_name}", f"argument {position}, {_taken(each)}"
        elif isinstance(each, click.Option):
            names = ", ".join(sorted([*each.opts, *each.secondary_opts]))
            yield f"{path} {names}", f"option, {_taken(each)}"
    if isinstance(command, click.Group):
        for each_name, each_command in command.commands.items():
            yield from _commands(each_command, each_name, context)


def _taken(parameter: click.Parameter) -> str:
    """Describe the value of an argument or an option."""
    is_flag = isinstance(parameter, click.Option) and parameter.is_flag
    facts = ["flag" if is_flag else _taken_type(parameter)]
    if parameter.required:
        facts.append("required")
    if isinstance(parameter, click.Option) and parameter.multiple:
        facts.append("repeatable")
    if parameter.nargs != 1:
        facts.append(f"{parameter.nargs} values")
    # Releases of click differ in how they mark an option without a default.
    default: object = getattr(parameter, "default", None)
    if not is_flag and isinstance(default, int | float | str | list):
        facts.append(f"default {default!r}")
    if parameter.envvar:
        facts.append(f"from {parameter.envvar}")
    return ", ".join(facts)


def _taken_type(parameter: click.Parameter) -> str:
    if isinstance(parameter.type, click.Choice):
        return "|".join(cast("click.Choice[str]", parameter.type).choices)
    return parameter.type.name


# --- The package.


def _package() -> Iterator[Line]:
    """List the entry points, extras, requirements and runnable modules of the package."""
    package = importlib.metadata.distribution("kraty-admin")
    for point in package.entry_points:
        yield f"entry point {point.group} {point.name}", point.value
    for extra in package.metadata.get_all("Provides-Extra", []):
        yield "extra", extra
    yield "requirement", f"Python {package.metadata['Requires-Python']}"
    for requirement in package.requires or []:
        yield "requirement", requirement
    for module in _modules():
        is_package = hasattr(importlib.import_module(module), "__path__")
        if is_package and importlib.util.find_spec(f"{module}.__main__"):
            yield f"python -m {module}", "program"
