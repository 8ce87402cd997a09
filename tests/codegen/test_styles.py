"""A package generated from a contract with every style has the right requests and types."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

pytest.importorskip("jinja2", reason="the build step's own tools are not installed")

from documents import Node, contract, operation, parameter, surface
from hypothesis import given, settings
from hypothesis import strategies as st

from generate import ROOT, Layout, regenerate

# It says the same under each Python.
pytestmark = pytest.mark.once

Scalar: TypeAlias = str | int | bool
Parameter: TypeAlias = Scalar | list[Scalar] | dict[str, Scalar]

ANY_SCALAR: Node = {"type": ["string", "integer", "boolean"]}
SHAPES: Final[Mapping[str, Node]] = {
    "scalar": ANY_SCALAR,
    "list": {"type": "array", "items": ANY_SCALAR},
    "object": {"type": "object", "additionalProperties": ANY_SCALAR},
}
CASES: Final = [
    *(
        ("path", style, explode, shape)
        for style in ("simple", "label", "matrix")
        for explode in (False, True)
        for shape in SHAPES
    ),
    *(("query", "form", explode, shape) for explode in (False, True) for shape in SHAPES),
    *(
        ("query", style, False, shape)
        for style in ("spaceDelimited", "pipeDelimited")
        for shape in ("list", "object")
    ),
    ("query", "deepObject", True, "object"),
    *(("header", "simple", explode, shape) for explode in (False, True) for shape in SHAPES),
]


def name_of(location: str, style: str, explode: bool, shape: str) -> str:
    """Return the operationId of a case."""
    return f"{location}_{style.lower()}_{'each' if explode else 'whole'}_{shape}"


NAMES: Final = [name_of(*case) for case in CASES]


def synthetic() -> Node:
    """Return a contract with one operation for each case."""
    paths: Node = {}
    for case, name in zip(CASES, NAMES, strict=True):
        location, style, explode, shape = case
        more = {"style": style, "explode": explode, "schema": SHAPES[shape]}
        taken = parameter(location, "the-one" if location == "header" else "the one", **more)
        path = f"/{name}/{{the one}}/end" if location == "path" else f"/{name}"
        paths[path] = {"get": operation(name, parameters=[taken])}
    return contract(paths)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the generated package `styles_api`."""
    folder = tmp_path_factory.mktemp("synthetic")
    document = synthetic()
    layout = Layout(folder / "contract.json", folder / "surface.yaml", folder / "out", "styles_api")
    layout.contract.write_text(json.dumps(document))
    layout.surface.write_text(json.dumps(surface(document)))  # JSON is YAML
    layout.output.mkdir()
    regenerate(layout, layout.contract.read_bytes())
    return layout.output


@pytest.fixture(scope="module")
def calls(package: Path) -> Any:
    """Return the module with the package's operations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(package), *sys.path])
        return importlib.import_module("styles_api.operations.things")


# --- An encoder of its own, after the tables of OpenAPI ("Style Values", "Style Examples").

PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")


def percent(value: Scalar) -> str:
    """Percent-encode what may have a meaning in a URL, byte by byte."""
    text = json.dumps(value) if isinstance(value, bool | int) else value
    return "".join(chr(b) if b in PLAIN else f"%{b:02X}" for b in text.encode())


Pairs: TypeAlias = list[tuple[str, str]]

# By style, explode and shape: the text of a name and escaped values. A row of the table each.
TABLE: Final[Mapping[tuple[str, bool, str], Callable[[str, str, list[str], Pairs], str]]] = {
    ("simple", False, "list"): lambda n, s, a, o: ",".join(a),
    ("simple", True, "list"): lambda n, s, a, o: ",".join(a),
    ("simple", False, "object"): lambda n, s, a, o: ",".join(f"{k},{v}" for k, v in o),
    ("simple", True, "object"): lambda n, s, a, o: ",".join(f"{k}={v}" for k, v in o),
    ("label", False, "scalar"): lambda n, s, a, o: f".{s}",
    ("label", True, "scalar"): lambda n, s, a, o: f".{s}",
    ("label", False, "list"): lambda n, s, a, o: "." + ",".join(a),
    ("label", True, "list"): lambda n, s, a, o: "".join(f".{each}" for each in a),
    ("label", False, "object"): lambda n, s, a, o: "." + ",".join(f"{k},{v}" for k, v in o),
    ("label", True, "object"): lambda n, s, a, o: "".join(f".{k}={v}" for k, v in o),
    ("matrix", False, "scalar"): lambda n, s, a, o: f";{n}={s}",
    ("matrix", True, "scalar"): lambda n, s, a, o: f";{n}={s}",
    ("matrix", False, "list"): lambda n, s, a, o: f";{n}=" + ",".join(a),
    ("matrix", True, "list"): lambda n, s, a, o: "".join(f";{n}={each}" for each in a),
    ("matrix", False, "object"): lambda n, s, a, o: f";{n}=" + ",".join(f"{k},{v}" for k, v in o),
    ("matrix", True, "object"): lambda n, s, a, o: "".join(f";{k}={v}" for k, v in o),
    ("form", False, "scalar"): lambda n, s, a, o: f"{n}={s}",
    ("form", True, "scalar"): lambda n, s, a, o: f"{n}={s}",
    ("form", False, "list"): lambda n, s, a, o: f"{n}=" + ",".join(a),
    ("form", True, "list"): lambda n, s, a, o: "&".join(f"{n}={each}" for each in a),
    ("form", False, "object"): lambda n, s, a, o: f"{n}=" + ",".join(f"{k},{v}" for k, v in o),
    ("form", True, "object"): lambda n, s, a, o: "&".join(f"{k}={v}" for k, v in o),
    ("spaceDelimited", False, "list"): lambda n, s, a, o: f"{n}=" + "%20".join(a),
    ("spaceDelimited", False, "object"): lambda n, s, a, o: (
        f"{n}=" + "%20".join(f"{k}%20{v}" for k, v in o)
    ),
    ("pipeDelimited", False, "list"): lambda n, s, a, o: f"{n}=" + "%7C".join(a),
    ("pipeDelimited", False, "object"): lambda n, s, a, o: (
        f"{n}=" + "%7C".join(f"{k}%7C{v}" for k, v in o)
    ),
    ("deepObject", True, "object"): lambda n, s, a, o: "&".join(f"{n}%5B{k}%5D={v}" for k, v in o),
    ("simple", False, "scalar"): lambda n, s, a, o: s,
    ("simple", True, "scalar"): lambda n, s, a, o: s,
}


def plain(value: Scalar) -> str:
    """Return a scalar as a header holds it."""
    return value if isinstance(value, str) else json.dumps(value)


def expected(
    style: str,
    explode: bool,
    shape: str,
    value: Parameter,
    escape: Callable[[Scalar], str] = percent,
) -> str:
    """Return the text that the parameter `the one` must become."""
    scalar = escape(value) if isinstance(value, str | int) else ""
    items = [escape(each) for each in value] if isinstance(value, list) else []
    fields = [(escape(k), escape(v)) for k, v in value.items()] if isinstance(value, dict) else []
    return TABLE[style, explode, shape](escape("the one"), scalar, items, fields)


# Text that holds what the styles use themselves. Dots alone are refused in a path.
texts = st.text("ab,.;=&|[]+%/ ü€", min_size=1, max_size=4).filter(lambda text: set(text) != {"."})
# What a list in a header can hold: no comma, no white space at either end.
header_texts = st.text('a.;&|[]+%/ ü"', min_size=1, max_size=4).filter(lambda t: t == t.strip())


def values(texts: st.SearchStrategy[str], shape: str) -> st.SearchStrategy[Parameter]:
    """Return a strategy for values of a shape, made of these texts, numbers and booleans."""
    scalars = texts | st.integers(-9, 99) | st.booleans()
    if shape == "list":
        return st.lists(scalars, min_size=1, max_size=4).map(list[Scalar])
    if shape == "object":
        return st.dictionaries(texts, scalars, min_size=1, max_size=4).map(dict[str, Scalar])
    return scalars.map(lambda value: value)


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_each_style_is_written_as_openapi_says(
    calls: Any, case: tuple[str, str, bool, str]
) -> None:
    """For any value, URL and header equal those of an encoder that shares no code with ours."""
    location, style, explode, shape = case
    name = name_of(*case)
    call = getattr(calls, name)

    fit = header_texts if location == "header" else texts
    # What separates the parts of a value, and is not escaped differently within one.
    reserved = {"spaceDelimited": " ", "pipeDelimited": "|", "deepObject": "[]"}.get(style, "")
    if style == "label" and explode and shape != "scalar":
        reserved = "."
    fit = fit.filter(lambda text: not set(text) & set(reserved))

    @settings(max_examples=20, deadline=None, database=None)
    @given(values(fit, shape))
    def check(value: Parameter) -> None:
        written = expected(style, explode, shape, value)
        if location == "header":
            written = expected(style, explode, shape, value, plain)
            assert (("the-one", written),) == call(the_one=value).headers
        elif location == "path":
            assert f"/{name}/{written}/end" == call(value).path
        else:
            assert f"/{name}?{written}" == call(the_one=value).path

    check()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path_simple_whole_list", []),
        ("path_label_each_list", [""]),
        ("path_simple_whole_list", ["."]),
        ("path_label_whole_list", ["."]),
        ("path_matrix_each_object", {}),
    ],
    ids=["no items", "empty item", "dot", "two dots", "no fields"],
)
def test_a_path_never_becomes_another(calls: Any, name: str, value: Any) -> None:
    """A value that would vanish from the path, or change its segments, is rejected."""
    with pytest.raises(ValueError, match="the_one must not be"):
        getattr(calls, name)(value)


@pytest.mark.parametrize(
    ("name", "value", "separator"),
    [
        pytest.param("query_spacedelimited_whole_list", ["a b", "c"], "' '", id="space"),
        pytest.param("query_pipedelimited_whole_list", ["a|b", "c"], "'|'", id="pipe"),
        pytest.param("query_pipedelimited_whole_object", {"a": "b|c"}, "'|'", id="pipe in a dict"),
        pytest.param("query_deepobject_each_object", {"a][b": "c"}, "'['", id="bracket"),
        pytest.param("path_label_each_list", ["a.b", "c"], "'.'", id="dot"),
        pytest.param("path_label_each_object", {"a": "b.c"}, "'.'", id="dot in a dict"),
    ],
)
def test_no_item_becomes_two(calls: Any, name: str, value: Any, separator: str) -> None:
    """An item with the character that separates items in its style is rejected."""
    message = re.escape(f"the_one must not hold {separator}, which separates its parts")
    with pytest.raises(ValueError, match=f"^{message}$"):
        getattr(calls, name)(the_one=value)


@pytest.mark.long
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.parametrize("python", ["3.10", "3.13"])
def test_mypy_accepts_the_package(package: Path, mypy_cache: Path, python: str) -> None:
    """mypy in strict mode finds no error in the package, for the oldest and the newest Python.

    The templates ask for no version, so mypy finds none for a Python between them either.
    """
    check_types(
        package,
        *("mypy", "--strict", "--config-file=", f"--python-version={python}"),
        *(f"--cache-dir={mypy_cache}", "--no-error-summary", "styles_api"),
    )


def check_types(package: Path, *arguments: str) -> None:
    """Run a type checker on the package."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=package, capture_output=True, text=True, check=False
    )
    assert ("", 0) == (done.stdout, done.returncode), done.stderr


@pytest.mark.long
@pytest.mark.skipif(
    find_spec("pyright") is None or shutil.which("node") is None, reason="pyright needs node"
)
def test_pyright_accepts_the_package(package: Path) -> None:
    """pyright in strict mode finds no error in the generated package."""
    options = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT / "generated")]}
    (package / "pyrightconfig.json").write_text(json.dumps(options))
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson"],
        cwd=package,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert [] == report["generalDiagnostics"]
    assert 5 < report["summary"]["filesAnalyzed"]
