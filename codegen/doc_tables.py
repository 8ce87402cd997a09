"""The tables in `docs/` that are generated from the contract, the surface or the code.

A table is between two comments, `<!-- table NAME ... -->` and `<!-- end NAME -->`. The text
around them is written by hand.

Two tables come from the package's own code, so that the pages agree with it: which errors are
retried, and the glossary. The package holds the glossary because `kraty-admin help glossary`
prints it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from adopt import parse_yaml
from document import Json, is_object, operations
from kraty_admin._call._exchange import Exchange, Failure, Outcome, Raise, Reply
from kraty_admin._call._idempotency import trusted_for
from kraty_admin._call._retry import RetryBudget, RetryConfig
from kraty_admin.cli._glossary import GLOSSARY
from kraty_admin.errors import KratyNetworkError, KratyServerError
from kraty_server_api.operation import KeyLifetime, Operation
from views import PackageView, SurfaceError

__all__ = ["differences", "write"]

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs"
ERRORS: Final = ROOT / "codegen" / "errors.yaml"

_TABLE: Final = r"(<!-- table {name}\b[^>]*-->\n).*?(<!-- end {name} -->)"
_ANY: Final = r"<!-- table ([\w-]+)"


def write(view: PackageView, contract: Json) -> None:
    """Write the tables into the pages.

    Raises:
        SurfaceError: The texts do not match the contract, or no page has a place for a table.
    """
    for path, text in _pages(view, contract):
        path.write_text(text, encoding="utf-8")


def differences(view: PackageView, contract: Json) -> Iterator[str]:
    """Yield each page whose tables are out of date.

    Raises:
        SurfaceError: The texts do not match the contract, or no page has a place for a table.
    """
    for path, text in _pages(view, contract):
        if path.read_text(encoding="utf-8") != text:
            yield f"docs/{path.name}: a table is out of date"


def _pages(view: PackageView, contract: Json) -> Iterator[tuple[Path, str]]:
    """Yield each page that has tables, with its new text."""
    tables = {
        "key-lifetimes": key_lifetimes(view),
        "replayed": replayed(view),
        "error-codes": error_codes(
            list(map(json.loads, view.error_codes)), contract, parse_yaml(ERRORS.read_bytes())
        ),
        "other-errors": other_errors(),
        "glossary": glossary(GLOSSARY),
    }
    left = set(tables)
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        names = re.findall(_ANY, text)
        if names:
            left -= set(names)
            yield path, fill(text, tables)
    if left:
        raise SurfaceError([f"docs/: no page has a place for the table {name}" for name in left])


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Return the text of a page with its tables replaced.

    Raises:
        SurfaceError: The page names a table that does not exist, or a table has no end.
    """
    for name in re.findall(_ANY, text):
        if name not in tables:
            raise SurfaceError([f"docs/: there is no table {name}; known are {', '.join(tables)}"])
        match = re.search(_TABLE.format(name=re.escape(name)), text, re.S)
        if match is None:
            raise SurfaceError([f"docs/: the table {name} has no `<!-- end {name} -->`"])
        text = text[: match.end(1)] + tables[name] + text[match.start(2) :]
    return text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`"


def key_lifetimes(view: PackageView) -> str:
    """Return the table of how long each operation's key lasts, according to the surface."""
    rows: list[list[str]] = []
    for lifetime in view.key_lifetimes:
        names = [
            _code(f"{each.resource}.{each.method_name}")
            for resource in view.resources
            for each in resource.operations
            if each.key_lifetime is lifetime
        ]
        trusted = trusted_for(KeyLifetime(lifetime.name, lifetime.repeat_within_hours, ""))
        hours = None if trusted is None else trusted.total_seconds() / 3600
        limit = "at any time" if hours is None else f"for at most {hours:g} hours"
        rows.append([", ".join(names), lifetime.doc, limit])
    return table(["operations", "lifetime of the key", "repeat under the same key"], rows)


def replayed(view: PackageView) -> str:
    """Return the table of how the answer to each write shows a repeat."""
    shows = {
        "status": "the status is 200 instead of 201",
        "applied": "`applied` is false",
        None: "nothing: `replayed` is always `None`",
    }
    names: dict[str | None, list[str]] = {}
    for resource in view.resources:
        for each in resource.operations:
            if each.key_lifetime is not None:
                name = _code(f"{each.resource}.{each.method_name}")
                names.setdefault(each.replayed, []).append(name)
    rows = [[", ".join(names[how]), shows[how]] for how in names]
    return table(["operations", "how the answer shows a repeat"], rows)


def error_codes(codes: Sequence[str], contract: Json, texts: object) -> str:
    """Return the table of error codes, with their statuses and what to do.

    Args:
        codes: The error codes of the contract.
        contract: The contract.
        texts: The parsed `errors.yaml`.

    Raises:
        SurfaceError: `errors.yaml` lacks a code of the contract, has a code that the contract
            lacks, or names a status that no operation of the contract has.
    """
    if not is_object(texts):
        raise SurfaceError(["errors.yaml: it must be a map of codes"])
    wrong = [f"errors.yaml: {code} is missing" for code in codes if code not in texts]
    wrong += [
        f"errors.yaml: the contract has no code {code}" for code in texts if code not in codes
    ]
    statuses = {
        str(status) for raw in operations(contract) for status in raw.node.get("responses", {})
    } | {"500"}  # every operation can fail; the contract need not say so
    for code, text in texts.items():
        if set(text) != {"statuses", "meaning", "do"}:
            wrong.append(f"errors.yaml: {code} must have statuses, meaning and do")
        else:
            wrong += [
                f"errors.yaml: {code}: no operation answers {each}"
                for each in text["statuses"]
                if statuses.isdisjoint({str(each), f"{each // 100}XX", "default"})
            ]
    if wrong:
        raise SurfaceError(wrong)
    rows: list[list[str]] = []
    for code in codes:
        text = texts[code]
        answers = [_refusal(status, code) for status in text["statuses"]]
        rows.append(
            [
                _code(code),
                ", ".join(map(str, text["statuses"])) or "in `failures`",
                _shared(_yes_no(_outcome(each).retryable) for each in answers),
                _shared(_yes_no(_outcome(each).ambiguous) for each in answers),
                f"{text['meaning']} {text['do']}",
            ]
        )
    return table(["code", "status", "retryable", "ambiguous", "meaning, and what to do"], rows)


def other_errors() -> str:
    """Return the table of failures without a code of the contract."""
    page = b"<h1>Bad gateway</h1>"
    rows: list[tuple[str, Outcome, str]] = [
        ("a 2xx whose body is not a result", Reply(200, {}, page), "Repeat under the same key."),
        (
            "a 3xx",
            Reply(302, {}, page),
            "Check the base URL: the SDK never follows a redirect. Then repeat under the same key.",
        ),
        ("a 401 of a proxy", Reply(401, {}, page), "Look at `err.raw_body`."),
        (
            "another 4xx of a proxy or firewall, such as a 403",
            Reply(403, {}, page),
            "Look at `err.raw_body`, remove the cause, then repeat under the same key.",
        ),
        ("408", Reply(408, {}, page), "Repeat under the same key."),
        ("425", Reply(425, {}, page), "Repeat under the same key."),
        ("429 of a proxy", Reply(429, {}, page), "Wait, then repeat under the same key."),
        ("502, 503, 504", Reply(503, {}, page), "Repeat under the same key."),
        (
            "no connection",
            Failure(ConnectionRefusedError(), was_sent=False),
            "Check the host that the message names.",
        ),
        (
            "the connection broke after sending had begun, or time ran out",
            Failure(ConnectionResetError(), was_sent=True),
            "Repeat under the same key.",
        ),
    ]
    lines: list[list[str]] = []
    for what, outcome, then in rows:
        error = _outcome(outcome)
        code = _code(error.code) if isinstance(error, KratyServerError) else ""
        lines.append(
            [
                what,
                _code(type(error).__name__),
                code,
                _yes_no(error.retryable),
                _yes_no(error.ambiguous),
                then,
            ]
        )
    return table(["outcome", "error", "`err.code`", "retryable", "ambiguous", "what to do"], lines)


def glossary(words: Mapping[str, str]) -> str:
    """Return the table of words with their meanings."""
    return table(["word", "meaning"], [[f"**{word}**", text] for word, text in words.items()])


def _refusal(status: int, code: str) -> Reply:
    return Reply(status, {}, json.dumps({"error": {"code": code, "message": ""}}).encode())


def _outcome(outcome: Outcome) -> KratyServerError | KratyNetworkError:
    """Return the error that a write with one attempt raises for this outcome."""
    exchange = Exchange(
        Operation(name="", method="POST", path="", body={}, result=dict),
        url="https://api.kraty.io/server/v1/",
        body=b"{}",
        idempotency_key="key",
        retry=RetryConfig(attempts=1),
        budget=RetryBudget(None),
        timeout={},
        ends_at=1.0,
        random=lambda: 0.0,
    )
    exchange.begin(0.0, 0.0)
    step = exchange.advance(outcome, now=0.0, wall=0.0)
    if not isinstance(step, Raise):
        raise TypeError(f"{outcome} is not a failure")
    return step.error


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _shared(answers: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(answers)) or "-"
