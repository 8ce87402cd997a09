"""Build the sdist and the wheel once, and run the tests with both.

The tests, pages and examples are those of the unpacked sdist, and the package is the wheel,
installed into fresh environments: nothing of the checkout is used. Each Python that the
classifiers name is tested, and each later one that is found. A Python that is not installed
is skipped, and listed as skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import artefacts  # noqa: E402
import extras  # noqa: E402
from artefacts import UV  # noqa: E402

# What an old dependency, or a wheel that lacks a file, breaks: names, imports, and each way
# of calling over real connections.
SMOKE = [
    *("test_a_day_later.py", "test_demo.py", "test_surface.py"),
    *("docs/test_purchase.py", "server_api/test_key_lifetimes.py", "cli/test_commands.py"),
    "bulk/test_imports.py::TestEmulator",
]
# What a version of Python itself can break: sockets, TLS, event loops, threads, SQLite, pickles;
# and of the command line, terminals, streams and signals. The code of the pages is there too.
PYTHON = [
    *("transport", "test_lifecycle.py", "call/test_retry.py", "outbox/test_worker.py"),
    *("emulator/test_server.py", "emulator/test_webhooks.py", "contrib"),
    *("test_errors.py", "test_pickles.py", "cli/test_first_minute.py", "cli/test_migrate.py"),
    *("cli/test_outbox.py", "cli/test_reports.py", "cli/test_screens.py"),
    *("cli/test_stories.py", "cli/test_streams.py", "docs/test_blocks.py"),
]
# Extras that are not installed: their old releases do not exist for every Python.
LEFT_OUT = ("extra == 'all'", "extra == 'dask'", "extra == 'parquet'")
# `make test` and `make test-long` have run these, and once is enough: the generator's tests
# judge the sources, and the proofs kill processes, which no version of Python survives. Single
# tests of this kind have the mark `once`.
ONCE = ["--ignore=tests/codegen", "--ignore=tests/proofs"]
PYTEST = ["-q", "-p", "no:cacheprovider", *ONCE]
# A process each, and one more than most machines of this kind have cores: an installation,
# or a test that waits for other processes, leaves no core idle.
AT_A_TIME = 3


class Run(NamedTuple):
    """A run of the tests on one Python, with one resolution of the dependencies."""

    version: str
    python: str
    resolution: str
    tests: list[str]

    @property
    def name(self) -> str:
        """The name of the run in the output."""
        return f"Python {self.version}, {self.resolution} dependencies"


def versions() -> list[str]:
    """Return the versions that the classifiers name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)


def later(known: list[str]) -> list[str]:
    """Return the installed versions after the newest that the classifiers name."""
    newest = int(known[-1].partition(".")[2])
    found = [f"3.{minor}" for minor in range(newest + 1, newest + 4)]
    return [version for version in found if interpreter(version)]


def interpreter(version: str) -> str | None:
    """Return a Python of this version, from the path or from pyenv."""
    candidates = [shutil.which(f"python{version}")]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        installed = sorted(Path(root.stdout.strip(), "versions").glob(f"{version}.*/bin/python"))
        candidates += [str(path) for path in installed]
    for candidate in filter(None, candidates):
        asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == version:
            return candidate
    return None


def runs() -> Iterator[Run]:
    """Yield the runs.

    Each Python runs the smoke tests with the lowest dependencies, and the oldest Python runs
    everything with them. With the newest dependencies, the oldest Python runs the smoke tests, and
    the newest also those of what a Python can break. The Python of `make test` has run everything
    with the newest, and leaves these out.
    """
    known = versions()
    newer = later(known)
    tested = "{}.{}".format(*sys.version_info)
    if not newer:
        print(f"SKIPPED Python after {known[-1]}: none is installed", flush=True)
    smoke = [f"tests/{each}" for each in SMOKE]
    part = [*smoke, *(f"tests/{each}" for each in PYTHON)]
    for version in known:
        python = interpreter(version)
        if python is None:
            print(f"SKIPPED Python {version}: it is not installed", flush=True)
            continue
        if version in (known[0], known[-1]) and version != tested:
            yield Run(version, python, "highest", part if version == known[-1] else smoke)
        yield Run(version, python, "lowest-direct", ["tests"] if version == known[0] else smoke)
    for version in newer:
        yield Run(version, interpreter(version) or version, "highest", part)


def install(run: Run, wheel: Path, sdist: Path, python: Path) -> bool:
    """Install the wheel, with what the tests need, into an environment."""
    # Without compiling: most of what is installed is never imported.
    command = [UV, "pip", "install", "--quiet", "--python", str(python)]
    command += ["--resolution", run.resolution, "--group", f"{sdist}/pyproject.toml:test"]
    # Named here as well, because only what is asked for directly is resolved to the lowest.
    needs = [
        need.partition(";")[0]
        for need in artefacts.metadata(wheel).get_all("Requires-Dist", [])
        if not need.startswith("kraty-admin") and not any(extra in need for extra in LEFT_OUT)
    ]
    command += [f"kraty-admin[emulator] @ {wheel.as_uri()}", *needs]
    return not subprocess.run(command, check=False).returncode


def test(run: Run, wheel: Path, sdist: Path, folder: Path) -> bool:
    """Install the wheel into a fresh environment, and run the tests of the sdist with it."""
    venv = folder / f"{run.version}-{run.resolution}"
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", run.python, venv], check=True)
    if not install(run, wheel, sdist, venv / "bin" / "python"):
        if run.version not in versions():
            print(f"SKIPPED {run.name}: the dependencies cannot be installed", flush=True)
            return True
        print(f"== {run.name}\nthe dependencies cannot be installed", flush=True)
        return False
    # Two processes for the run of everything: it goes on long after the others have ended.
    processes, marked = ("2", "not once") if run.tests == ["tests"] else ("0", "not (once or long)")
    command = [str(venv / "bin" / "python"), "-m", "pytest", "-n", processes, "-m", marked]
    command += [*PYTEST, *run.tests]
    done = subprocess.run(
        command, cwd=sdist, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    shutil.rmtree(venv)
    print(f"== {run.name}\n{done.stdout}", flush=True)
    return done.returncode == 0


def package(built: artefacts.Artefacts, folder: Path) -> bool:
    """Check the two files and the extras."""
    try:
        artefacts.check(built, ROOT, folder / "checked")
        problems = extras.problems(built.wheel, folder)
    except artefacts.ArtefactsError as error:
        problems = [str(error)]
    sizes = ", ".join(f"{file.name}: {file.stat().st_size:,} bytes" for file in built)
    print("\n".join([f"== package: {sizes}", *problems]), flush=True)
    return not problems


def main() -> int:
    """Run everything; return the exit status."""
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(AT_A_TIME) as pool:
        folder = Path(name)
        built = artefacts.build(ROOT, folder / "built")
        sdist = artefacts.unpack(built.sdist, folder)
        planned = list(runs())
        # The longest first, so that none of them is left alone at the end.
        planned.sort(key=lambda run: (run.tests != ["tests"], -len(run.tests)))
        tested = pool.map(partial(test, wheel=built.wheel, sdist=sdist, folder=folder), planned)
        checked = pool.submit(package, built, folder)
        failed = [run.name for run, passed in zip(planned, tested, strict=True) if not passed]
        if not checked.result():
            failed.append("the package")
    if failed:
        print(f"failed: {'; '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    # So that only the wheel can be imported, and bytecode is kept from run to run.
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    raise SystemExit(main())
