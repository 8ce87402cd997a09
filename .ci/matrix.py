"""Run the tests against the built wheel, on each Python that the classifiers name.

The sources are out of the way: what is tested is what people install. Each Python
gets the newest dependencies, then the oldest that the project allows. A Python
that is not there is skipped, and said to be.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = Path(sys.executable).parent / "uv"
RESOLUTIONS = ("highest", "lowest-direct")
# Long, and of our own code alone: on the oldest and the newest Python is enough.
LESS = ["proofs", "test_plugin.py", "test_webhooks_fuzz.py", "test_json.py", "bulk/test_readers.py"]
# Extras that are not installed: their old releases are not there for every Python.
LEFT_OUT = ("extra == 'dask'", "extra == 'parquet'")
# The type checkers judge sources, so one Python is enough; the generator's tests
# need the sources too.
PYTEST = ["-q", "-n", "2", "-m", "not types", "-p", "no:cacheprovider", "--ignore=tests/codegen"]


def versions() -> list[str]:
    """The versions that the classifiers name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)


def interpreter(version: str) -> str | None:
    """A Python of this version: from the path, or from pyenv."""
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


def test(python: str, resolution: str, wheel: Path, folder: Path, *, whole: bool) -> int:
    """Install the wheel into a fresh environment and run the tests there."""
    venv = folder / "venv"
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", python, venv], check=True)
    install = [UV, "pip", "install", "--quiet", "--compile-bytecode"]
    install += ["--python", venv / "bin" / "python"]
    install += ["--resolution", resolution, "--group", f"{ROOT}/pyproject.toml:test"]
    # Named here as well, because only what is asked for directly is resolved to the lowest.
    needs = [
        need.partition(";")[0]
        for need in importlib.metadata.requires("kraty-admin") or []
        if not need.startswith("kraty-admin") and not any(extra in need for extra in LEFT_OUT)
    ]
    subprocess.run([*install, f"kraty-admin[emulator] @ {wheel.as_uri()}", *needs], check=True)
    less = [] if whole else [f"--ignore=tests/{each}" for each in LESS]
    command = [venv / "bin" / "python", "-m", "pytest", *PYTEST, *less]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    """Run all of them; returns the exit status."""
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [UV, "build", "--quiet", "--wheel", "--out-dir", folder, ROOT]
        subprocess.run(build, check=True)
        wheel = next(folder.glob("*.whl"))
        for version in versions():
            python = interpreter(version)
            if python is None:
                print(f"SKIPPED Python {version}: it is not here", flush=True)
                continue
            for resolution in RESOLUTIONS:
                print(f"== Python {version}, {resolution} dependencies", flush=True)
                whole = resolution == "highest" and version in (versions()[0], versions()[-1])
                if test(python, resolution, wheel, folder, whole=whole):
                    failed.append(f"{version} {resolution}")
    if failed:
        print(f"failed: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    raise SystemExit(main())
