"""The build step has deterministic output, and its check finds every kind of drift."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

pytest.importorskip("jinja2", reason="the build step's own tools are not installed")

from adopt import fetch
from generate import (
    GOLDEN,
    KRATY,
    ROOT,
    Layout,
    check,
    differences,
    docstring,
    main,
    regenerate,
    unhandled,
)
from loopback import response, serving
from views import SurfaceError, python_name


def layout_in(folder: Path) -> Layout:
    """Return the layout of the golden contract, in this folder."""
    return Layout(
        contract=folder / "contract.json",
        surface=folder / "surface.yaml",
        output=folder / "generated",
        package="golden_api",
    )


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the golden contract and its output, which tests copy for speed."""
    folder = tmp_path_factory.mktemp("layouts") / "golden"
    shutil.copytree(GOLDEN.contract.parent, folder)
    layout = layout_in(folder)
    regenerate(layout, layout.contract.read_bytes())
    assert check(layout) == []
    return folder


@pytest.fixture(scope="module")
def golden_with_runtime(golden: Path) -> Path:
    """Return a folder with the golden contract whose package has copies of three small modules."""
    folder = golden.with_name("golden-with-runtime")
    shutil.copytree(golden, folder)
    runtime = folder / "runtime"
    runtime.mkdir()
    for name in ("__init__", "first", "second"):
        (runtime / f"{name}.py").write_text(f'"""The {name} module."""\n', encoding="utf-8")
    layout = attrs.evolve(layout_in(folder), runtime=runtime)
    regenerate(layout, layout.contract.read_bytes())
    assert check(layout) == []
    return folder


@pytest.fixture
def layout(golden: Path, tmp_path: Path) -> Layout:
    """Return the layout of a copy of `golden` that the test may change."""
    return layout_in(Path(shutil.copytree(golden, tmp_path / "golden")))


@pytest.fixture
def with_runtime(golden_with_runtime: Path, tmp_path: Path) -> Layout:
    """Return the layout of a copy of `golden_with_runtime` that the test may change."""
    folder = Path(shutil.copytree(golden_with_runtime, tmp_path / "golden"))
    return attrs.evolve(layout_in(folder), runtime=folder / "runtime")


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def drift(layout: Layout, made: Path) -> list[str]:
    """Return what `check` does while the inputs are those of `made`, without generating again."""
    return list(differences(layout, files(made / "generated")))


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("seed", ["1", "2"])
def test_nothing_has_drifted_whatever_the_hash_seed(seed: str) -> None:
    """The check finds no drift in the repository, whatever the order of sets."""
    done = subprocess.run(
        [sys.executable, "codegen/generate.py", "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no drift: ")


def test_every_generated_module_names_the_command_that_makes_it() -> None:
    """Each generated module names `make regen` in its first lines."""
    modules = [*KRATY.output.rglob("*.py"), *GOLDEN.output.rglob("*.py")]
    assert len(modules) > 30
    assert [path for path in modules if "`make regen`" not in path.read_text()[:100]] == []


def test_regenerating_twice_changes_nothing(layout: Layout) -> None:
    """Generating again from the same inputs gives the same files."""
    before = files(layout.output)
    regenerate(layout, layout.contract.read_bytes())
    assert files(layout.output) == before


def test_classes_name_the_public_package(layout: Layout) -> None:
    """If people import from another package, the generated classes give it as their module."""
    copy = attrs.evolve(layout, public="golden")
    regenerate(copy, copy.contract.read_bytes())
    for module, line in (("models", "_model.__module__"), ("params", "_params.__module__")):
        text = (copy.output / "golden_api" / f"{module}.py").read_text(encoding="utf-8")
        assert f'{line} = "golden.{module}"' in text


def _summary(contract: Any) -> None:
    contract["paths"]["/plain"]["get"]["summary"] = "Another summary."


def _extra_operation(contract: Any) -> None:
    contract["paths"]["/plain"]["post"] = {
        **contract["paths"]["/plain"]["get"],
        "operationId": "postPlain",
    }


def _lost_operation(contract: Any) -> None:
    del contract["paths"]["/plain"]


def test_a_changed_contract_is_drift(layout: Layout) -> None:
    """The check names a contract changed without regenerating, and the files out of date."""
    edit(layout.contract, _summary)
    assert check(layout) == [
        "contract.json: changed without regenerating",
        "golden_api/commands.py: out of date",
        "golden_api/contract.json: out of date",
        "golden_api/operations/first.py: out of date",
        "golden_api/resources/things.py: out of date",
        "MANIFEST.json: out of date",
    ]


def test_a_changed_surface_is_drift(layout: Layout) -> None:
    """The check names a surface that was changed without regenerating."""
    layout.surface.write_text(layout.surface.read_text().replace("things.plain", "things.simple"))
    assert check(layout)[0] == "surface.yaml: changed without regenerating"


def test_an_edited_file_is_drift(layout: Layout, golden: Path) -> None:
    """The check names a generated file in which one byte was added."""
    path = layout.output / "golden_api" / "models.py"
    path.write_text(path.read_text() + "\n")
    assert drift(layout, golden) == ["golden_api/models.py: edited by hand"]


def test_a_missing_file_is_drift(layout: Layout, golden: Path) -> None:
    """The check names a generated file that was deleted."""
    (layout.output / "golden_api" / "py.typed").unlink()
    assert drift(layout, golden) == [f"golden_api/py.typed: missing from {layout.output.name}"]


def test_an_unlisted_file_is_drift(layout: Layout, golden: Path) -> None:
    """The check names a file in the output that the build step does not write."""
    (layout.output / "golden_api" / "extra.py").write_text("")
    assert drift(layout, golden) == ["golden_api/extra.py: the build step does not write this file"]


def test_modules_of_the_runtime_are_copied(with_runtime: Layout) -> None:
    """Each module of the runtime but `__init__` is copied below a header, and in the manifest."""
    package = with_runtime.output / "golden_api"
    copied = (package / "first.py").read_text(encoding="utf-8")
    assert copied == (
        "# Copied by `make regen` from first.py.\n"
        "# Do not edit: change that file instead.\n"
        '"""The first module."""\n'
    )
    assert "The __init__ module" not in (package / "__init__.py").read_text(encoding="utf-8")
    manifest = json.loads((with_runtime.output / "MANIFEST.json").read_text(encoding="utf-8"))
    assert {"first.py", "second.py"} < manifest["inputs"].keys()
    assert {"golden_api/first.py", "golden_api/second.py"} < manifest["files"].keys()


def test_kratys_package_has_all_modules_of_the_runtime() -> None:
    """Kraty's package has a copy of each module of `codegen/runtime`, the golden package none."""
    modules = {path.name for path in KRATY.runtime_modules()}
    assert {"checks.py", "decoding.py", "model.py", "operation.py"} < modules
    assert modules < {path.name for path in (KRATY.output / KRATY.package).iterdir()}
    assert modules & {path.name for path in (GOLDEN.output / GOLDEN.package).iterdir()} == set()


def test_a_changed_runtime_module_is_drift(with_runtime: Layout) -> None:
    """The check names a runtime module that was changed without regenerating, and its copy."""
    assert with_runtime.runtime is not None
    (with_runtime.runtime / "first.py").write_text('"""Changed."""\n', encoding="utf-8")
    assert check(with_runtime) == [
        "first.py: changed without regenerating",
        "golden_api/first.py: out of date",
        "MANIFEST.json: out of date",
    ]


def test_a_new_runtime_module_is_drift(with_runtime: Layout) -> None:
    """The check names a runtime module that has no copy."""
    assert with_runtime.runtime is not None
    (with_runtime.runtime / "third.py").write_text('"""New."""\n', encoding="utf-8")
    assert check(with_runtime) == [
        "third.py: changed without regenerating",
        f"golden_api/third.py: missing from {with_runtime.output.name}",
        "MANIFEST.json: out of date",
    ]


def test_a_removed_runtime_module_is_drift(with_runtime: Layout) -> None:
    """The check names a copy whose runtime module was deleted."""
    assert with_runtime.runtime is not None
    (with_runtime.runtime / "first.py").unlink()
    assert check(with_runtime) == [
        "golden_api/first.py: the build step does not write this file",
        "MANIFEST.json: out of date",
    ]


def test_an_edited_copy_is_drift(with_runtime: Layout, golden_with_runtime: Path) -> None:
    """The check names a copy of a runtime module that was edited in the output."""
    path = with_runtime.output / "golden_api" / "first.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert drift(with_runtime, golden_with_runtime) == ["golden_api/first.py: edited by hand"]


def test_a_runtime_module_does_not_replace_a_generated_one(with_runtime: Layout) -> None:
    """A runtime module with the name of a generated module is refused."""
    assert with_runtime.runtime is not None
    (with_runtime.runtime / "models.py").write_text("", encoding="utf-8")
    assert check(with_runtime) == ["models.py: a template also writes models.py"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"inputs": {}, "files": {}}'], ids=repr)
def test_a_spoilt_manifest_is_drift(layout: Layout, golden: Path, content: str) -> None:
    """The check names a manifest that is truncated or emptied."""
    (layout.output / "MANIFEST.json").write_text(content)
    assert drift(layout, golden)[-1] == "MANIFEST.json: out of date"


def test_an_operation_without_a_row_is_drift(layout: Layout) -> None:
    """The check names an operation without a row in the surface, and the row to add."""
    edit(layout.contract, _extra_operation)
    assert check(layout) == [
        "postPlain (POST /plain), #/paths/~1plain/post: it has no row in surface.yaml. "
        "Add `postPlain: {method: <resource>.<method>}`."
    ]


def test_a_row_without_an_operation_is_drift(layout: Layout) -> None:
    """The check names a row of the surface whose operation is gone."""
    edit(layout.contract, _lost_operation)
    assert check(layout) == ["surface.yaml: row getPlain has no operation. Remove it."]


def test_an_operation_that_the_emulator_does_not_serve_is_drift() -> None:
    """The check names operations without a handler, and handlers without an operation."""
    contract = json.loads(KRATY.contract.read_bytes())
    assert list(unhandled(contract)) == []
    contract["paths"]["/ping"]["get"]["operationId"] = "knock"
    assert list(unhandled(contract)) == [
        "emulator: no handler for operation knock",
        "emulator: handler ping has no operation",
    ]


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ("things.plain", "plain", "surface.yaml: getPlain: method must be <resource>.<method>"),
        ("things.plain", "stuff.plain", "surface.yaml: getPlain: no such resource: stuff"),
        (
            "things.plain",
            "things.read",
            "surface.yaml: readThing: things.read is already used by getPlain",
        ),
        ("replayed: applied", "replay: applied", "surface.yaml: putThing: unknown setting replay"),
        (
            "    key: day\n",
            "",
            "surface.yaml: putThing: key must be one of day, permanent, not None",
        ),
        (
            "key: day",
            "key: week",
            "surface.yaml: putThing: key must be one of day, permanent, not week",
        ),
        (
            "method: things.read",
            "method: things.read\n    key: day",
            "surface.yaml: readThing: key must be left out, since this is not a write",
        ),
        (
            "imports: {rows: bodies, key: nothing}",
            "imports: {rows: bodies}",
            "createBody (POST /bodies), surface.yaml: imports needs the settings rows and key,",
        ),
        (
            "replayed: applied\n",
            "replayed: applied\n    imports: {rows: things, key: the thing}\n",
            "putThing (PUT /things/{thingId}/sub/{number}), surface.yaml: imports needs the",
        ),
    ],
    ids=[
        "no resource",
        "unknown resource",
        "taken",
        "unknown setting",
        "write without a key",
        "unknown lifetime",
        "read with a key",
        "imports without a key",
        "imports without rows",
    ],
)
def test_a_wrong_row_is_named(layout: Layout, old: str, new: str, cause: str) -> None:
    """A mistake in a row of the surface is reported with the name of the row."""
    layout.surface.write_text(layout.surface.read_text().replace(old, new, 1))
    assert check(layout)[0].startswith(cause)


def test_a_contract_that_does_not_fit_changes_nothing(layout: Layout) -> None:
    """If a contract cannot be adopted, the old contract and its output stay as they were."""
    contract = layout.contract.read_bytes()
    before = files(layout.output)
    document = json.loads(contract)
    _extra_operation(document)
    with pytest.raises(SurfaceError):
        regenerate(layout, json.dumps(document).encode())
    assert layout.contract.read_bytes() == contract
    assert files(layout.output) == before


def test_items_of_a_list_stay_apart() -> None:
    """In a docstring, each item of a list is a paragraph, and no other line break stays."""
    text = "One\ntwo - three:\n- a\n  b\n- c\n* d\n1. e\n\n-5 is no item,\n2.5 neither"
    expected = ["One two - three:", "- a b", "- c", "* d", "1. e", "-5 is no item, 2.5 neither"]
    assert expected == [line.strip() for line in docstring(text, 4).split("\n\n")]


def test_the_public_package_needs_error_codes(layout: Layout) -> None:
    """Renaming the schema of the error codes would remove the properties of public errors."""
    contract = json.loads(layout.contract.read_bytes())
    schemas = contract["components"]["schemas"]
    schemas["Code"] = schemas.pop("ErrorCode")
    with pytest.raises(SurfaceError, match="there is no ErrorCode, from which properties"):
        regenerate(attrs.evolve(layout, public="golden"), json.dumps(contract).encode())


@pytest.fixture
def url() -> Iterator[str]:
    """Yield the address of a server that sends the contract without spaces."""
    contract = json.loads(KRATY.contract.read_bytes())
    with serving(lambda _: response(200, contract)) as server:
        yield f"{server.url}/spec.json"


def test_a_contract_is_adopted_from_a_url(url: str) -> None:
    """A contract from a URL is laid out as the repository keeps it."""
    assert KRATY.contract.read_bytes() == fetch(url)


YAML = """
openapi: 3.1.0
info: {title: Small, version: "1"}
paths:
  /t:
    get:
      operationId: doIt
      responses:
        200:
          description: Fine, since 2026-06-08.
          content:
            application/json:
              example: {on: 2026-06-08, yes: no, n: 1.5}
"""


def test_a_yaml_contract_is_adopted_as_json(tmp_path: Path) -> None:
    """In a contract in YAML, keys become text, and dates and words like `yes` stay text."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(YAML)
    answer = json.loads(fetch(str(spec)))["paths"]["/t"]["get"]["responses"]["200"]
    assert "Fine, since 2026-06-08." == answer["description"]
    example = answer["content"]["application/json"]["example"]
    assert {"on": "2026-06-08", "yes": "no", "n": 1.5} == example


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"openapi": "2.0"}', ["it is not an OpenAPI 3.0 or 3.1 document: its `openapi` is 2.0"]),
        (
            YAML.replace("operationId: doIt", "$ref: a.yaml#/a\n      operationId: doIt"),
            ["#/paths/~1t/get: $ref a.yaml#/a refers to another document. Bundle both into one."],
        ),
        (
            YAML.replace("get:", "get:\n      tags: 7\n      summary: 7"),
            [
                '#/paths/~1t/get/summary: 7 is not of type "string"',
                '#/paths/~1t/get/tags: 7 is not of type "array"',
            ],
        ),
        (
            YAML + "components: {schemas: {A: {$ref: '#/b'}, B: {$ref: '#/components/schemas/B'}}}",
            [
                "#/components/schemas/A: $ref #/b points at nothing in the contract. Define it,",
                "#/components/schemas/B: $ref #/components/schemas/B leads back to itself. Break",
            ],
        ),
        (
            YAML + "components: {schemas: {A: {allOf: [{$ref: '#/components/schemas/A'}]}}}",
            ["a schema contains itself in its allOf, so that it has no end"],
        ),
        (
            YAML + "components: {schemas: {A: {properties: {a: {minLength: x}}}}}",
            ["#/components/schemas/A/properties/a/minLength: 'x' is not of type 'integer'"],
        ),
        (
            YAML.replace("get:", "get:\n      parameters: [{in: query, schema: {}}]"),
            ['#/paths/~1t/get/parameters/0: "name" is a required property'],
        ),
        ("a: [", ["while parsing a flow node expected the node content, but found"]),
        ("[" * 100_000, ["it is nested too deeply"]),
        ('{"a": 1,}', ["Expecting property name enclosed in double quotes: line 1 column 9"]),
        ("n: .nan", ["Out of range float values are not JSON compliant"]),
    ],
    ids=[
        *("version", "other document", "two mistakes", "references", "circle", "inside a schema"),
        *("no name", "YAML", "too deep", "JSON", "no number"),
    ],
)
def test_what_is_wrong_with_a_document_is_named(
    tmp_path: Path, content: str, expected: list[str]
) -> None:
    """Each mistake that makes a document unusable is reported, with its place."""
    spec = tmp_path / "spec"
    spec.write_text(content)
    with pytest.raises(SurfaceError) as caught:
        fetch(str(spec))
    found = [cause.removeprefix(f"cannot adopt {spec}: ") for cause in caught.value.causes]
    assert expected == [
        cause[: len(start)] for start, cause in zip(expected, sorted(found), strict=True)
    ]


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param("{pattern: '^\\p{L}+$'}", id="pattern"),
        pytest.param("{$ref: '#/components/schemas/B'}", id="reference to any value"),
    ],
)
def test_unusual_schemas_are_adopted(tmp_path: Path, schema: str) -> None:
    """What Python or the validator does not understand, but OpenAPI allows, is adopted."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(YAML + f"components: {{schemas: {{A: {schema}, B: true}}}}")
    assert "A" in json.loads(fetch(str(spec)))["components"]["schemas"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"openapi": "3.1.0"}', b"\xff"], ids=repr)
def test_what_is_no_contract_is_not_adopted(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no contract is refused with a message, and the output stays as it was."""
    spec = tmp_path / "spec.json"
    spec.write_bytes(content)
    before = files(KRATY.output)
    assert main(["--spec", str(spec)]) == 1
    assert capsys.readouterr().err.startswith(f"regen: cannot adopt {spec}: ")
    assert files(KRATY.output) == before


@pytest.mark.parametrize(
    ("wire", "taken", "name"),
    [
        ("createdAt", (), "created_at"),
        ("items", (), "items_"),
        ("class", (), "class_"),
        ("from", (), "from_"),
        ("http", (), "http_"),
        ("classmethod", (), "classmethod_"),
        ("fooBar", ("foo_bar",), "foo_bar_"),
        ("1st", (), "field_1st"),
        ("", (), "field"),
        ("$$", (), "field"),
    ],
    ids=repr,
)
def test_names_collide_with_nothing(wire: str, taken: tuple[str, ...], name: str) -> None:
    """The property name of a wire name differs from Python's names and those already taken."""
    assert python_name(wire, taken) == name
