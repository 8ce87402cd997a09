"""Build `generated/`, and the tables in `docs/`, from the contract and the surface.

    python codegen/generate.py                    regenerate
    python codegen/generate.py --spec PATH|URL    adopt another contract, then regenerate
    python codegen/generate.py --check            fail if any of it is out of date

`views/` prepares the values of the templates, and `doc_tables.py` writes the tables. The output
depends only on the inputs, so `--check` compares bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import jinja2

import examples
from adopt import encoded, fetch, invalid, parse_yaml
from document import Json, RefusedError, operations
from views import PackageView, ResourceView, SurfaceError, package_view
from views.commands import paragraphs
from views.names import snake_case
from views.types import literal

ROOT: Final = Path(__file__).resolve().parent.parent
MANIFEST: Final = "MANIFEST.json"
LINE: Final = 100
# Isolated from other configuration, so that the output depends only on these lines.
_ISOLATED: Final = ("--no-cache", "--isolated", "--quiet", "--target-version", "py310")
FORMAT: Final = (
    (
        *("check", *_ISOLATED, "--fix", "--select", "F401,I"),
        *("--config", 'lint.isort.known-first-party=["kraty_server_api"]', "."),
    ),
    ("format", *_ISOLATED, "--line-length", str(LINE), "."),
)


@attrs.frozen
class Layout:
    """The paths and packages of a build. The golden test has its own."""

    contract: Path
    surface: Path
    output: Path
    package: str
    runtime: Path | None = None
    """The folder of runtime modules to copy into the package. Without it, the package imports
    those of `kraty_server_api`."""
    public: str | None = None
    """The public package that re-exports models and params, if there is one."""

    @property
    def runtime_package(self) -> str:
        """The package from which the output imports the runtime modules."""
        return KRATY.package if self.runtime is None else self.package

    def runtime_modules(self) -> list[Path]:
        """Return the modules to copy: all but `__init__.py`, because the package has its own."""
        modules = [] if self.runtime is None else sorted(self.runtime.glob("*.py"))
        return [path for path in modules if path.name != "__init__.py"]

    def inputs(self) -> list[Path]:
        """Return every file that the output depends on."""
        templates = sorted((ROOT / "codegen" / "templates").iterdir())
        scripts = [ROOT / "codegen" / name for name in ("document.py", "generate.py", "media.py")]
        scripts += sorted((ROOT / "codegen" / "views").glob("*.py"))
        return [self.contract, self.surface, *scripts, *templates, *self.runtime_modules()]

    def label(self, path: Path) -> str:
        """Return the name of a file in messages and in the manifest."""
        return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


KRATY: Final = Layout(
    contract=ROOT / "openapi.server.json",
    surface=ROOT / "codegen" / "surface.yaml",
    output=ROOT / "generated",
    package="kraty_server_api",
    runtime=ROOT / "codegen" / "runtime",
    public="kraty_admin",
)
# A contract that covers every branch of the templates. Tests check the output.
GOLDEN: Final = Layout(
    contract=ROOT / "tests" / "golden" / "contract.json",
    surface=ROOT / "tests" / "golden" / "surface.yaml",
    output=ROOT / "tests" / "golden" / "generated",
    package="golden_api",
)


@attrs.frozen
class Flavour:
    """One kind of class that is generated for each resource, such as `AsyncWallet`."""

    prefix: str
    call: str
    """The type of the function that performs or records an operation."""
    is_async: bool = False
    is_outbox: bool = False


CLIENTS: Final = (Flavour("", "Call"), Flavour("Async", "AsyncCall", is_async=True))
OUTBOXES: Final = (
    Flavour("Outbox", "Record", is_outbox=True),
    Flavour("AsyncOutbox", "AsyncRecord", is_async=True, is_outbox=True),
)


def docstring(value: str, indent: int, hang: int = 0) -> str:
    """Escape text for a docstring, and wrap it at the line length.

    Args:
        value: The text; blank lines separate paragraphs, and each item of a list is one.
        indent: The column at which it starts.
        hang: The extra indent of the following lines.
    """
    margin = " " * (indent + hang)
    wrapped = [
        textwrap.fill(
            paragraph,
            width=LINE,
            initial_indent=" " * (indent + 3) if hang == 0 else " " * indent,
            subsequent_indent=margin,
            break_long_words=False,
            break_on_hyphens=False,
        ).strip()
        for paragraph in paragraphs(_printable(value))
    ]
    text = f"\n\n{margin}".join(wrapped)
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f"{text} " if text.endswith('"') else text


def _printable(value: str) -> str:
    """Return text without control characters, which must not be in Python source."""
    return "".join(c for c in value if c in "\n\t " or not unicodedata.category(c).startswith("C"))


def string_literal(value: str, indent: int) -> str:
    """Return text as Python source, one literal for each line.

    Args:
        value: The text, without line breaks.
        indent: The column at which the lines start.
    """
    lines = textwrap.wrap(
        value, width=LINE - indent - 4, break_long_words=False, break_on_hyphens=False
    )
    margin = " " * indent
    # Every line but the last ends with the space at which it was broken.
    parts = [json.dumps(line + " ", ensure_ascii=False) for line in lines[:-1]]
    parts += [json.dumps(line, ensure_ascii=False) for line in lines[-1:]]
    return f"(\n{margin}" + f"\n{margin}".join(parts) + f"\n{margin[4:]})"


class Package:
    """The modules of a package: models, operations, and a facade per resource."""

    def __init__(self, view: PackageView, layout: Layout, folder: Path) -> None:
        self.view = view
        self.layout = layout
        self.folder = folder
        self.env = jinja2.Environment(
            loader=jinja2.FileSystemLoader(ROOT / "codegen" / "templates"),
            autoescape=False,  # noqa: S701 -- the output is Python, not HTML
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self.env.filters["docstring"] = docstring
        self.env.filters["string_literal"] = string_literal
        self.env.filters["snakecase"] = snake_case
        self.env.filters["literal"] = literal

    def build(self) -> None:
        """Write every module."""
        view = self.view
        self._render("__init__.py", "package_init.py.jinja", title=view.title)
        codes, doc = view.error_codes, view.error_codes_doc
        self._render("errors.py", "errors.py.jinja", codes=codes, doc=doc)
        self._render("models.py", "models.py.jinja", models=view.models, enums=view.enums)
        self._render("schemas.py", "schemas.py.jinja", models=view.models)
        self._render("params.py", "params.py.jinja", params=view.params, enums=view.params_enums)
        operations, lifetimes = view.operations, view.key_lifetimes
        self._render(
            "lifetimes.py", "lifetimes.py.jinja", lifetimes=lifetimes, operations=operations
        )
        self._render("commands.py", "commands.py.jinja", resources=view.resources)
        self._render("operations/__init__.py", "operations_init.py.jinja", operations=operations)
        self._render("resources/__init__.py", "resources_init.py.jinja", resources=view.resources)
        for tag in sorted({operation.tag for operation in view.operations}):
            rows = [operation for operation in view.operations if operation.tag == tag]
            self._render(f"operations/{tag}.py", "operations.py.jinja", tag=tag, operations=rows)
        for resource in view.resources:
            self._render_resource("resources", resource, CLIENTS)
        writers = [resource for resource in view.resources if resource.in_outbox]
        writes = [operation for operation in operations if operation.in_outbox]
        self._render(
            "outbox/__init__.py",
            "outbox_init.py.jinja",
            resources=writers,
            operations=writes,
            flavours=OUTBOXES,
        )
        for resource in writers:
            self._render_resource("outbox", resource, OUTBOXES)
        (self.folder / "py.typed").touch()
        for command in FORMAT:
            subprocess.run([sys.executable, "-m", "ruff", *command], cwd=self.folder, check=True)
        # After the formatter, because these modules are formatted in `codegen/`.
        for path in self.layout.runtime_modules():
            self._copy(path)

    def _render_resource(
        self, folder: str, resource: ResourceView, flavours: Sequence[Flavour]
    ) -> None:
        self._render(
            f"{folder}/{resource.name}.py",
            "resource.py.jinja",
            resource=resource,
            flavours=flavours,
        )

    def _render(self, path: str, template: str, **values: object) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.env.get_template(template)
        text = source.render(
            runtime=self.layout.runtime_package,
            public=self.layout.public,
            **values,
        )
        target.write_text(text, encoding="utf-8")

    def _copy(self, path: Path) -> None:
        label = self.layout.label(path)
        header = (
            f"# Copied by `make regen` from {label}.\n# Do not edit: change that file instead.\n"
        )
        target = self.folder / path.name
        if target.exists():
            raise SurfaceError([f"{label}: a template also writes {path.name}"])
        target.write_text(header + path.read_text(encoding="utf-8"), encoding="utf-8")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _files(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder by path, without compiled Python."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _surface(path: Path) -> object:
    try:
        return parse_yaml(path.read_bytes())
    except ValueError as error:
        raise SurfaceError([f"{path.name}: {error}"]) from None


def generate(layout: Layout, target: Path, contract_bytes: bytes) -> None:
    """Write the whole output for a contract into an empty folder.

    Raises:
        SurfaceError: The contract and the surface do not match, or the contract has
            something that the templates cannot express.
    """
    contract: Json = json.loads(contract_bytes)
    try:
        view = package_view(contract, _surface(layout.surface))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Checked only now, because it takes seconds: a contract that was edited may be invalid.
        causes = invalid(contract)
        if not causes:
            raise
        raise SurfaceError(causes) from error
    if layout.public and not view.error_codes:
        raise SurfaceError(
            [
                "#/components/schemas: there is no ErrorCode, from which properties such as "
                "is_not_found are made. Give the enumeration of the error codes this name."
            ]
        )
    package = target / layout.package
    package.mkdir(parents=True)
    Package(view, layout, package).build()
    # The emulator validates requests against the contract from which the code was generated.
    (package / layout.contract.name).write_bytes(contract_bytes)
    inputs = {layout.label(path): path.read_bytes() for path in layout.inputs()}
    inputs[layout.label(layout.contract)] = contract_bytes
    manifest = {
        "command": "make regen",
        "inputs": {name: _digest(data) for name, data in inputs.items()},
        "files": {name: _digest(data) for name, data in _files(target).items()},
    }
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def differences(layout: Layout, expected: Mapping[str, bytes]) -> Iterator[str]:
    """Yield each file of the output that is wrong, and why."""
    actual = _files(layout.output)
    try:
        manifest: Json = json.loads(actual.get(MANIFEST, b""))
        inputs: dict[str, str] = manifest["inputs"]
        listed: dict[str, str] = manifest["files"]
    except (ValueError, KeyError, TypeError):
        yield f"{MANIFEST}: missing or unreadable"
        inputs, listed = {}, {}
    for path in layout.inputs():
        name = layout.label(path)
        if inputs and inputs.get(name) != _digest(path.read_bytes()):
            yield f"{name}: changed without regenerating"
    for name in sorted({*expected, *actual, *listed} - {MANIFEST}):
        if name not in actual:
            yield f"{name}: missing from {layout.label(layout.output)}"
        elif name not in expected:
            yield f"{name}: the build step does not write this file"
        elif listed and listed.get(name) != _digest(actual[name]):
            yield f"{name}: edited by hand"
        elif actual[name] != expected[name]:
            yield f"{name}: out of date"
    if actual.get(MANIFEST) != expected[MANIFEST]:
        yield f"{MANIFEST}: out of date"


def unhandled(contract: Json) -> Iterator[str]:
    """Yield operations without a handler in the emulator, and handlers without an operation."""
    from kraty_admin.emulator._operations import OPERATIONS

    known = {raw.node.get("operationId") for raw in operations(contract)}
    for name in sorted(known - set(OPERATIONS)):
        yield f"emulator: no handler for operation {name}"
    for name in sorted(set(OPERATIONS) - known):
        yield f"emulator: handler {name} has no operation"


def outdated_pages(contract: Json) -> list[str]:
    """Return the pages in `docs/` whose tables are out of date, one line per cause."""
    import doc_tables  # needs the generated package

    try:
        return list(
            doc_tables.differences(package_view(contract, _surface(KRATY.surface)), contract)
        )
    except SurfaceError as error:
        return error.causes


def write_pages(contract: Json) -> None:
    """Write the tables in `docs/`."""
    import doc_tables  # needs the generated package

    doc_tables.write(package_view(contract, _surface(KRATY.surface)), contract)


def check(layout: Layout) -> list[str]:
    """Return the differences of the output on disk, one line per cause."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            generate(layout, Path(folder), layout.contract.read_bytes())
        except SurfaceError as error:
            return error.causes
        return list(differences(layout, _files(Path(folder))))


def regenerate(layout: Layout, contract_bytes: bytes) -> int:
    """Replace the output. If it cannot be generated, nothing on disk changes.

    Returns:
        The number of files written.
    """
    with tempfile.TemporaryDirectory() as folder:
        generate(layout, Path(folder), contract_bytes)
        if contract_bytes != layout.contract.read_bytes():
            layout.contract.write_bytes(contract_bytes)
        for name in _files(layout.output):
            (layout.output / name).unlink()
        shutil.copytree(folder, layout.output, dirs_exist_ok=True)
        return len(_files(layout.output))


def _adopted(spec: str) -> bytes:
    """Read another contract, and add derived examples where it has none."""
    document: Json = json.loads(fetch(spec))
    try:
        examples.add(document)
    except RefusedError as error:
        raise SurfaceError([f"{error}"]) from None
    return encoded(document)


def _own() -> bytes:
    """Return the contract of this project, whose tests need its examples."""
    contract = KRATY.contract.read_bytes()
    try:
        lacking = list(examples.missing(json.loads(contract)))
    except (AttributeError, LookupError, TypeError, ValueError, RefusedError):
        return contract  # generating from it reports the problem
    if lacking:
        raise SurfaceError(lacking)
    return contract


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--spec", metavar="PATH|URL", help="adopt this contract first")
    parser.add_argument("--check", action="store_true", help="fail if the output is out of date")
    options = parser.parse_args(argv)
    if options.check:
        causes = [*check(KRATY), *check(GOLDEN)]
        contract = json.loads(KRATY.contract.read_bytes())
        causes += unhandled(contract)
        causes += [cause for cause in outdated_pages(contract) if cause not in causes]
        for cause in causes:
            print(f"drift: {cause}", file=sys.stderr)
        if causes:
            print("run `make regen`, or fix the causes above", file=sys.stderr)
            return 1
        print(f"no drift: {len(_files(KRATY.output))} files match {KRATY.contract.name}")
        return 0
    try:
        adopted = _adopted(options.spec) if options.spec else _own()
        count = regenerate(KRATY, adopted)
        regenerate(GOLDEN, GOLDEN.contract.read_bytes())
        write_pages(json.loads(adopted))
    except SurfaceError as error:
        for cause in error.causes:
            print(f"regen: {cause}", file=sys.stderr)
        return 1
    print(f"wrote {count} files to {KRATY.label(KRATY.output)}/")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
