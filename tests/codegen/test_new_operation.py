"""A new operation needs a change of contract, surface and handlers, and no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

# The copy is generated and tested by processes of their own, the same under each Python.
pytestmark = [pytest.mark.once, pytest.mark.long]

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = (
    *("codegen", "docs", "generated", "src", "tests"),
    *("openapi.server.json", "pyproject.toml"),
)

ROW: Final = """
  addNote:
    method: players.add_note
    key: undocumented
    cli:
      examples: [kraty-admin players add-note player_42 --text called]
"""
HANDLER: Final = '''"""`players.add_note`: a note of support."""

from __future__ import annotations

from ._call import Call, Context, Outcome
from ._upsert import find_player

__all__ = ["add_note"]


def add_note(call: Call, context: Context) -> Outcome:
    """Return the note. Nothing keeps it, since nothing reads it."""
    player = find_player(call, context)
    return Outcome(200, {"externalPlayerId": player.external_id, "text": call.body["text"]})
'''
TABLE: Final = "src/kraty_admin/emulator/_operations/__init__.py"
DERIVED: Final = (
    "tests/server_api/test_contract.py",
    "tests/server_api/test_key_lifetimes.py",
    "tests/server_api/test_models.py::test_every_method_is_called",
    "tests/server_api/test_models.py::test_every_model_and_every_field_is_looked_at",
    "tests/server_api/test_models.py::test_the_contracts_examples_read_well",
    "tests/cli/test_first_minute.py::test_every_command_has_examples_that_parse",
    "tests/cli/test_rows.py::test_every_operation_has_an_example",
    "tests/cli/test_rows.py::test_the_examples_run",
    "tests/outbox/test_worker.py::test_each_write_is_sent_as_the_client_sends_it[sqlite-sync]",
)
"""Tests that go through all operations of the contract."""
OF_THE_OPERATION: Final = (
    "addNote or add_note or each_write or every_method or every_model or every_command or test_rows"
)
"""Those that have a case for each operation run the new one's."""
UNHANDLED: Final = """
import json, sys
sys.path.insert(0, "codegen")
import generate
print(list(generate.unhandled(json.loads(generate.KRATY.contract.read_bytes()))))
"""
"""The part of `generate.py --check` that looks at the emulator, without the slow rest."""
USE: Final = """
from kraty_admin import KratyAdmin
from kraty_admin.emulator import Emulator

with Emulator() as kraty, kraty.client() as client:
    client.wallet.credit("p", "gold", amount=1)
    print(client.players.add_note("p", text="called").text, client.players.add_note.__doc__)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the files that the build step, the package and its tests need."""
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the copy of the tree."""
    path = os.pathsep.join(str(tree / name) for name in ("src", "generated", "tests"))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def add_to_contract(tree: Path, *, has_examples: bool = True) -> None:
    """Add the operation to the contract, with the schemas of its body and its result."""
    file = tree / "openapi.server.json"
    contract = json.loads(file.read_text(encoding="utf-8"))
    schemas = contract["components"]["schemas"]
    key = schemas["IdempotentRequest"]["properties"]["idempotencyKey"]
    text = {"type": "string", "description": "The text.", "minLength": 1}
    player = {"type": "string", "description": "Your own id of the player."}
    schemas["AddNoteRequest"] = _object("A note.", ["text"], text=text, idempotencyKey=key)
    schemas["Note"] = _object(
        "A note about a player.", ["externalPlayerId", "text"], externalPlayerId=player, text=text
    )
    schemas["NoteResponse"] = _object(
        "Envelope around Note.", ["data"], data={"$ref": "#/components/schemas/Note"}
    )
    request: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/AddNoteRequest"}}
    answer: dict[str, Any] = {"schema": {"$ref": "#/components/schemas/NoteResponse"}}
    if has_examples:
        request["example"] = {"text": "called"}
        answer["example"] = {"data": {"externalPlayerId": "player_42", "text": "called"}}
    like = contract["paths"]["/players/{externalId}/ban"]["post"]
    contract["paths"]["/players/{externalId}/notes"] = {
        "post": {
            **like,
            "operationId": "addNote",
            "summary": "Add a note to a player.",
            "description": "For support.",
            "requestBody": {"required": True, "content": {"application/json": request}},
            "responses": {
                **like["responses"],
                "200": {**like["responses"]["200"], "content": {"application/json": answer}},
            },
        }
    }
    file.write_text(json.dumps(contract, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _object(description: str, required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "required": required,
        "properties": properties,
    }


def add_handler(tree: Path) -> None:
    """Write a handler, and enter it in the emulator's table."""
    operations = tree / TABLE
    operations.with_name("_notes.py").write_text(HANDLER, encoding="utf-8")
    table = operations.read_text(encoding="utf-8")
    table = table.replace("from ._players", "from ._notes import add_note\nfrom ._players", 1)
    first = '        "ping": Operation(ping),\n'
    assert first in table
    table = table.replace(first, f'{first}        "addNote": Operation(add_note),\n')
    operations.write_text(table, encoding="utf-8")


def test_contract_row_and_handler_are_all(tree: Path) -> None:
    """With contract, row and handler, a new operation passes check and tests and can be called."""
    add_to_contract(tree, has_examples=False)
    refused = run(tree, "codegen/generate.py")
    lines = [line for line in refused.stderr.splitlines() if "it has no example" in line]
    assert (1, 2) == (refused.returncode, len(lines)), refused.stderr

    add_to_contract(tree)
    refused = run(tree, "codegen/generate.py")
    assert (1, True) == (refused.returncode, "it has no row in surface.yaml" in refused.stderr)

    with (tree / "codegen/surface.yaml").open("a", encoding="utf-8") as surface:
        surface.write(ROW)
    made = run(tree, "codegen/generate.py")
    assert (0, "") == (made.returncode, made.stderr)
    lacking = run(tree, "-c", UNHANDLED)
    assert "['emulator: no handler for operation addNote']" == lacking.stdout.strip()

    add_handler(tree)
    checked = run(tree, "codegen/generate.py", "--check")
    assert (0, "") == (checked.returncode, checked.stderr)
    used = run(tree, "-c", USE)
    assert used.stdout.startswith("called Add a note to a player."), used.stderr
    options = ("-q", "-pno:cacheprovider", "-pno:schemathesis", "-k", OF_THE_OPERATION)
    tested = run(tree, "-m", "pytest", *options, *DERIVED)
    assert 0 == tested.returncode, tested.stdout[-3000:]
    assert " passed" in tested.stdout
