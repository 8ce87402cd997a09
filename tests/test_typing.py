"""Type checkers accept programs that use the SDK, and find their mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

# Checkers take seconds to start and say the same under every Python.
pytestmark = [pytest.mark.once, pytest.mark.long]

PROGRAMS: Final = Path(__file__).parent / "typing"

needs_mypy: Final = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
needs_pyright: Final = pytest.mark.skipif(
    find_spec("pyright") is None or shutil.which("node") is None,
    reason="pyright is not installed, or node, which runs it, is not on PATH",
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a checker on the programs, with the package as this Python has it installed."""
    # Pyright looks for packages where the first Python on the path has them.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=PROGRAMS,
        env={**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


@needs_mypy
def test_mypy_agrees_with_the_programs(mypy_cache: Path) -> None:
    """mypy in strict mode infers each asserted type and objects to each mistake."""
    answer = run(
        "mypy",
        "--strict",
        "--config-file=",
        "--python-version=3.10",
        f"--cache-dir={mypy_cache}",
        "--no-error-summary",
        ".",
    )

    assert ("", "", 0) == (answer.stdout, answer.stderr, answer.returncode)


@needs_pyright
@pytest.mark.parametrize("python", ["3.10", "3.13"])
def test_pyright_agrees_with_the_programs(python: str) -> None:
    """pyright in strict mode infers each asserted type and objects to each mistake."""
    answer = run(
        "pyright", "--project=pyrightconfig.json", f"--pythonversion={python}", "--outputjson"
    )

    report: dict[str, Any] = json.loads(answer.stdout)
    assert [] == report["generalDiagnostics"]
    assert 3 == report["summary"]["filesAnalyzed"]
    assert 0 == answer.returncode


READ_BY_DJANGO = tuple(
    f"kraty_admin.contrib.django.{module}." for module in ("admin", "apps", "migrations", "models")
)
"""Modules whose classes set what Django's own classes declare: nobody else reads it, and an
annotation would have to repeat the private types of Django's stubs."""


@needs_pyright
@pytest.mark.parametrize("package", ["kraty_admin", "kraty_server_api", "pytest_kraty_admin"])
def test_every_public_symbol_has_a_type(package: str) -> None:
    """The type of every public symbol of a package is declared."""
    answer = run("pyright", f"--verifytypes={package}", "--ignoreexternal", "--outputjson")

    completeness: dict[str, Any] = json.loads(answer.stdout)["typeCompleteness"]
    exported = [symbol for symbol in completeness["symbols"] if symbol["isExported"]]
    vague = {
        symbol["name"]: [each["message"] for each in symbol["diagnostics"]]
        for symbol in exported
        if symbol["diagnostics"] and not symbol["name"].startswith(READ_BY_DJANGO)
    }
    # The class is one of typing_extensions, which does not describe it.
    vague.pop("kraty_server_api.deprecation.deprecated", None)
    assert {} == vague
    assert 0 == completeness["exportedSymbolCounts"]["withUnknownType"]
    assert len(exported) > 5
