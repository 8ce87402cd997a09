"""Check that each extra is enough for what it is for, and that its absence is explained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from artefacts import UV, metadata

__all__ = ["PROBES", "problems"]

PROBES: Final = {
    "cli": "from kraty_admin.cli import main; raise SystemExit(main(['--version']))",
    "dask": "from kraty_admin.bulk import _dataset; _dataset._distributed()",
    "django": "import kraty_admin.contrib.django",
    "emulator": (
        "from kraty_admin.emulator import Emulator\n"
        "with Emulator() as kraty: kraty.client().health.ping()"
    ),
    "fastapi": "import kraty_admin.contrib.fastapi",
    "otel": "import kraty_admin.contrib.otel",
    "outbox": "import kraty_admin.outbox, kraty_admin.inbox",
    "parquet": "from kraty_admin._bulk import _arrow; _arrow._modules()",
    "sql": (
        "from kraty_admin._bulk import _database\n"
        "print(list(_database.query('SELECT 1 AS n ORDER BY n', 'sqlite://')))"
    ),
}
"""What works with this extra alone. Without it, the error must name the extra."""


def _install(wheel: Path, extra: str, folder: Path) -> Path:
    """Install the wheel with an extra into an environment of its own; return its Python."""
    venv = folder / f"extra-{extra or 'none'}"
    subprocess.run([UV, "venv", "--quiet", "--clear", "--python", sys.executable, venv], check=True)
    python = venv / "bin" / "python"
    need = f"kraty-admin[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    install = [UV, "pip", "install", "--quiet", "--python", str(python), need]
    subprocess.run(install, check=True)
    return python


def _run(python: Path, probe: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-c", probe]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def problems(wheel: Path, folder: Path) -> list[str]:
    """Return what is wrong with the extras of a wheel; an empty list if nothing is.

    Args:
        wheel: The file.
        folder: Where to put environments.
    """
    known = set(metadata(wheel).get_all("Provides-Extra", []))
    found = [f"no probe for the extra {name}" for name in sorted(known - {*PROBES, "all"})]
    probes = {extra: probe for extra, probe in PROBES.items() if extra in known}
    bare = _install(wheel, "", folder)
    for extra, probe in probes.items():
        without = _run(bare, probe)
        if not without.returncode or f"kraty-admin[{extra}]" not in without.stderr:
            found.append(f"without {extra}, the error does not name it: {without.stderr}")
        alone = _run(_install(wheel, extra, folder), probe)
        if alone.returncode:
            found.append(f"{extra} alone is not enough: {alone.stderr}")
    # Each part has just run alone. What is left is that all of them can be installed together.
    _install(wheel, "all", folder)
    return found
