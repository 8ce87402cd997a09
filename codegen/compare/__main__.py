"""The command line: `python -m compare OLD NEW`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NoReturn, cast

from . import compare
from .contract import Node
from .report import as_json, as_markdown, as_text
from .rules import ContractError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ContractError(message)


def _load(path: Path) -> Node:
    try:
        document: object = json.loads(path.read_bytes())
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ContractError(f"{path}: not JSON: {error}") from error
    contract = cast("Node", document) if isinstance(document, dict) else {}
    if not str(contract.get("openapi")).startswith("3.1."):
        raise ContractError(f"{path}: not an OpenAPI 3.1 contract")
    return contract


def main(argv: list[str]) -> int:
    """Print the changes between two contract files, and return the exit status."""
    parser = _Parser("compare", description="List the changes between two contracts.")
    parser.add_argument("old", type=Path, help="the contract that callers were built against")
    parser.add_argument("new", type=Path, help="the contract that will replace it")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="print JSON, for scripts")
    formats.add_argument("--markdown", action="store_true", help="print Markdown, for reviews")
    try:
        options = parser.parse_args(argv)
        changes = compare(_load(options.old), _load(options.new))
    except ContractError as error:
        sys.stderr.write(f"compare: {error}\n")
        return 2
    except RecursionError:
        sys.stderr.write("compare: the contract is nested too deeply\n")
        return 2
    report = as_json if options.json else as_markdown if options.markdown else as_text
    sys.stdout.write(report(changes) + "\n")
    return int(any(change.breaking for change in changes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
